"""What all rivals train: names, image shapes and one batch of random images, bit-equal for all."""

import numpy as np

SHAPES = {"lenet5": (28, 28, 1), "resnet20": (32, 32, 3), "wrn_16_4": (32, 32, 3)}
# With projections where shapes change: the usual shortcut in every framework.
SPECS = {"lenet5": "lenet5", "resnet20": "resnet20b", "wrn_16_4": "wrn_16_4"}
CLASSES = 10
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 5e-4
MEAN, STD = 0.5, 0.29  # of uniform pixels in [0, 1]


class Absent(Exception):
    """A rival needs hardware that this machine lacks."""


def pixels(network: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images uint8 (N, H, W, C) and labels int32 (N,)."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (size, *SHAPES[network]), np.uint8)
    return images, rng.integers(0, CLASSES, size).astype(np.int32)


def batch(network: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the same, images standardised to float32."""
    images, labels = pixels(network, size)
    return (images.astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD), labels
