"""An image folder and a run on it, shared by the tests of several commands."""

import numpy as np
import pytest
from PIL import Image

from jaxcnn.cli import main
from tests.cli.calls import TINY


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Two classes of 30 images each."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        (root / name).mkdir()
        for i in range(30):
            pixels = rng.integers(0, 100, (12, 12)).astype(np.uint8) + np.uint8(120 * label)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


@pytest.fixture(scope="session")
def trained(tmp_path_factory, folder):
    out = tmp_path_factory.mktemp("runs") / "r"
    main(["train", "--data", str(folder), *TINY, "--out", str(out)])
    return out
