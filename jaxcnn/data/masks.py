"""Mask files to arrays of classes: what their values mean, and the reasons why one is refused."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from jaxcnn.data.dataset import BadImage
from jaxcnn.data.decode import Encoded, open_image, resize_mask
from jaxcnn.data.messages import one_line
from jaxcnn.errors import InputError
from jaxcnn.spec import UNLABELLED, Size

VALUES = 256
NO_CLASS = -1  # in a table: the value must not occur


class MaskClasses(NamedTuple):
    """What the values of a set's masks mean.

    Args:
        names: Name of each class.
        table: int16 (256,): value in a file -> class, 255 for pixels without one, -1 for values that must not occur.
    """

    names: tuple[str, ...]
    table: np.ndarray


def read_mask(source: Encoded) -> np.ndarray:
    """Read the values of a mask file, uint8 (H, W): grey values, indices of a palette, or 0 and 1 of a bitmap.

    Raises:
        BadImage: It cannot be decoded, is in colour or has values above 255.
    """
    try:
        with open_image(source) as file:
            file.load()
            values = np.asarray(file)
    except BadImage as error:
        raise BadImage(f"its mask is unusable: {error}", "mask_damaged") from None
    except Exception as error:  # what only loading finds
        raise BadImage(f"its mask is unusable: {one_line(error)}", "mask_damaged") from None
    if values.ndim == 3 and (file.mode == "LA" or (values[..., 1:3] == values[..., :1]).all()):
        values = values[..., 0]  # grey, saved as colours
    if values.ndim != 2:
        raise BadImage(
            "its mask is in colour; save the number of each pixel's class, in grey or palette", "mask_values"
        )
    if values.dtype.kind == "f" or (values.size and not 0 <= values.min() <= values.max() < VALUES):
        raise BadImage("its mask has values outside 0..255; number the classes from 0", "mask_values")
    return values.astype(np.uint8)


def decode_mask(
    source: Encoded, classes: MaskClasses, shape: tuple[int, int] | None, size: Size | None = None, fit: str = "squash"
) -> np.ndarray:
    """Read a mask file as classes, uint8 (H, W); 255 where a pixel has none.

    Args:
        source: The file's bytes, or its path.
        classes: What its values mean.
        shape: (height, width) of its image as stored; None: not checked.
        size: Resize as the image is, each pixel taking the nearest one; None: as stored.
        fit: As for `decode_image`.

    Raises:
        BadImage: It cannot be read, has another size than its image, or a value that is no class.
    """
    values = read_mask(source)
    if shape is not None and values.shape != tuple(shape):
        raise BadImage(
            f"its mask is {values.shape[0]}x{values.shape[1]} pixels and the image {shape[0]}x{shape[1]}", "mask_size"
        )
    mask = classes.table[values]
    if (mask == NO_CLASS).any():
        value = int(values[mask == NO_CLASS][0])
        raise BadImage(f"its mask has the value {value}, which is none of {len(classes.names)} classes", "mask_values")
    return resize_mask(mask.astype(np.uint8), size, fit)


def present_values(sources: Iterable[Encoded]) -> np.ndarray:
    """Return which values occur in any of the masks, bool (256,); files that cannot be read are left out."""
    present = np.zeros(VALUES, bool)
    for source in sources:
        try:
            present |= np.bincount(read_mask(source).ravel(), minlength=VALUES) > 0
        except BadImage:  # reported when it is decoded
            continue
    return present


def mask_classes(
    source: str, names: Sequence[str] | None, present: np.ndarray | None, ignore: Sequence[int]
) -> MaskClasses:
    """Return what the values of masks mean.

    With names, value k is the k-th of them. Without, the values that occur are the classes, and where they are 0 and
    255 alone, 255 is a class like any other (bitmaps). In all other cases 255 is the label of pixels without a class.

    Args:
        source: Name of the data set, for errors.
        names: Names of the values 0, 1, ...; None: they have none.
        present: bool (256,), the values that occur in training masks; needed where there are no names.
        ignore: Values that are no class.

    Raises:
        InputError: There is no class, or the values have gaps.
    """
    table = np.full(VALUES, NO_CLASS, np.int16)
    if names is None:
        assert present is not None
        found = np.flatnonzero(present).tolist()
        values = [value for value in found if value not in ignore]
        if values != [0, UNLABELLED]:
            values = [value for value in values if value != UNLABELLED]
            if values and values != list(range(values[0], values[0] + len(values))):
                shown = ", ".join(map(str, values[:8])) + (", ..." if len(values) > 8 else "")
                raise InputError(
                    f"the masks of data set {source!r} have the values {shown}; number the classes from 0 without "
                    "gaps, or name every value in classes.txt, or leave some out with ignore"
                )
        words = [str(value) for value in values]
    else:
        values = [value for value in range(len(names)) if value not in ignore]
        words = [names[value] for value in values]
    if not values:
        raise InputError(f"the masks of data set {source!r} have no class beside those in ignore; check the masks")
    if len(values) > UNLABELLED:
        raise InputError(f"the masks of data set {source!r} have {len(values)} classes; at most {UNLABELLED} are read")
    table[[*ignore, UNLABELLED]] = UNLABELLED
    table[values] = np.arange(len(values))
    return MaskClasses(tuple(words), table)
