"""Geometry of a sliding window: paddings and output sizes, shared by convolution and pooling.

Reference: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxcnn.errors import InputError

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]
Size = int | Sequence[int]
Padding = str | int | Sequence[int | Sequence[int]]
BORDERS = {"CIRCULAR": "wrap", "REFLECT": "reflect"}
"""Paddings with pixels of the image instead of zeros, by the mode of `jax.numpy.pad`."""


def as_pair(name: str, value: Size) -> Pair:
    """Return one integer or a (height, width) pair as a pair; raise InputError unless all are integers >= 1."""
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or any(not isinstance(v, int) or isinstance(v, bool) or v < 1 for v in pair):
        raise InputError(f"{name}={value!r}: give one integer >= 1, or a (height, width) pair of them")
    return pair


def output_size(
    size: int, window: int, *, stride: int = 1, dilation: int = 1, padding: str | int | Sequence[int] = "VALID"
) -> int:
    """Return the length of one axis after a window has slid over it.

    With k = dilation (window - 1) + 1, the reach of the window:
    VALID floor((size - k) / stride) + 1; p or (low, high) the same with size + low + high;
    SAME, CIRCULAR, REFLECT ceil(size / stride); CEIL ceil((size - k) / stride) + 1, less a last window that would start
    outside (as PyTorch does).

    Args:
        size: Length of the axis, in pixels.
        window: Taps of the window along it.
        stride: Pixels between windows.
        dilation: Pixels between taps.
        padding: "SAME", "VALID", "CEIL", "CIRCULAR", "REFLECT", a number of pixels for both ends, or (low, high).

    Returns:
        Length of the output axis.

    Raises:
        InputError: The window does not fit, or the padding is of no known kind.
    """
    low, high = axis_padding(size, window, stride, dilation, padding)
    return (size + low + high - (dilation * (window - 1) + 1)) // stride + 1


def axis_padding(size: int, window: int, stride: int, dilation: int, padding: str | int | Sequence[int]) -> Pair:
    """Return the pixels to add before and after one axis; see `output_size` for the arguments."""
    reach = dilation * (window - 1) + 1
    if padding == "SAME":
        total = max(0, (-(-size // stride) - 1) * stride + reach - size)
        pads = (total // 2, total - total // 2)
    elif padding == "CEIL":
        out = -(-(size - reach) // stride) + 1
        if (out - 1) * stride >= size:
            out -= 1  # the last window would see padding alone
        pads = (0, max(0, (out - 1) * stride + reach - size) if out > 0 else 0)
    elif padding in tuple(BORDERS):
        pads = ((reach - 1) // 2, reach // 2)
    elif padding == "VALID":
        pads = (0, 0)
    elif isinstance(padding, int):
        pads = (padding, padding)
    elif isinstance(padding, str) or len(padding) != 2 or any(not isinstance(p, int) for p in padding):
        raise InputError(
            f"padding={padding!r}: give 'SAME', 'VALID', 'CEIL', 'CIRCULAR', 'REFLECT', an integer or "
            "((top, bottom), (left, right))"
        )
    else:
        pads = (padding[0], padding[1])
    if min(pads) < 0:
        raise InputError(f"padding={padding!r}: pixels to add cannot be negative; slice the array instead")
    if size + sum(pads) < reach:
        raise InputError(
            f"size={size}: shorter than the window's reach of {reach} (window={window}, dilation={dilation}, "
            f"padding={padding!r}); use a larger image, a smaller window or padding='SAME'"
        )
    return pads


def window_padding(shape: Sequence[int], window: Pair, stride: Pair, dilation: Pair, padding: Padding) -> Pads:
    """Return the pixels to add around an NHWC array: ((top, bottom), (left, right))."""
    if isinstance(padding, str | int):
        sides: Sequence = (padding, padding)
    else:
        sides = tuple(padding)
        if len(sides) != 2 or any(isinstance(side, str) for side in sides):
            raise InputError(
                f"padding={padding!r}: as a sequence it is (height, width), each a number of pixels or (low, high)"
            )
    top, left = (
        axis_padding(shape[axis + 1], window[axis], stride[axis], dilation[axis], sides[axis]) for axis in (0, 1)
    )
    return top, left
