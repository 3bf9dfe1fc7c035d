"""Images: where they come from (sources), how they are batched (pipeline) and varied (augment)."""

from jaxcnn.data.augment import AUGMENTATIONS, make_augment
from jaxcnn.data.catalog import Known, names
from jaxcnn.data.dataset import BadImage, Dataset, Split
from jaxcnn.data.decode import decode_image
from jaxcnn.data.pipeline import batch_indices, batches, epoch_order, normalize, steps_per_epoch, take
from jaxcnn.data.prepare import prepare
from jaxcnn.data.sources import info, load

__all__ = [
    "AUGMENTATIONS",
    "BadImage",
    "Dataset",
    "Known",
    "Split",
    "batch_indices",
    "batches",
    "decode_image",
    "epoch_order",
    "info",
    "load",
    "make_augment",
    "names",
    "normalize",
    "prepare",
    "steps_per_epoch",
    "take",
]
