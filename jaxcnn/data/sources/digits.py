"""Scikit-learn's digits (E. Alpaydin, C. Kaynak, UCI 1998), which need no download."""

from collections.abc import Iterator

import numpy as np

from jaxcnn.data.dataset import Example, Pool, Source
from jaxcnn.data.decode import resize_array


def digits_source(size: int | None = None) -> Source:
    """Return 1,797 handwritten digits of 8x8 pixels: 1,137 train, 300 validation and 360 test, fixed by index."""

    def read() -> Iterator[Example]:
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        images = np.rint(np.asarray(pixels).reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield Example(f"digits[{i}]", resize_array(image, size), int(label))

    identity, carve = {"name": "digits", "size": size}, {"validation": 300, "test": 360}
    return Source("digits", "scikit-learn", identity, tuple("0123456789"), {"train": Pool(1797, read)}, carve)
