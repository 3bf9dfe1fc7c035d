"""Data: sources of images, splits, batches, augmentation, streaming and checks."""

from jaxcnn.data.augment import AUGMENTATIONS, MIXES, make_augment, make_mix
from jaxcnn.data.batches import batch_indices, batches, class_order, epoch_order, normalize, steps_per_epoch, take
from jaxcnn.data.check import Finding, Inspection, inspect
from jaxcnn.data.dataset import BadImage, Dataset, Split
from jaxcnn.data.decode import decode_image
from jaxcnn.data.loading import info, load
from jaxcnn.data.prepare import prepare
from jaxcnn.data.sources.catalog import CatalogEntry, names
from jaxcnn.data.stream import StreamedImages, is_streamed, read_ahead, resident_bytes_bound

__all__ = [
    "AUGMENTATIONS",
    "MIXES",
    "BadImage",
    "CatalogEntry",
    "Dataset",
    "Finding",
    "Inspection",
    "Split",
    "StreamedImages",
    "batch_indices",
    "batches",
    "class_order",
    "decode_image",
    "epoch_order",
    "info",
    "inspect",
    "is_streamed",
    "load",
    "make_augment",
    "make_mix",
    "names",
    "normalize",
    "prepare",
    "read_ahead",
    "resident_bytes_bound",
    "steps_per_epoch",
    "take",
]
