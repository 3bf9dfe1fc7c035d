"""Groups of images: read from names, features and scikit-learn's digits, and kept in one split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from jaxcnn.data import load
from jaxcnn.data.groups import writer_blocks
from jaxcnn.data.loading import resplit
from jaxcnn.data.splits import divide_folds, group_order
from jaxcnn.errors import InputError
from jaxcnn.spec import DataConfig


def apart(groups: dict[str, np.ndarray]) -> bool:
    """Return whether no group is in two splits."""
    sets = [set(each.tolist()) for each in groups.values()]
    return sum(map(len, sets)) == len(set.union(*sets))


def test_the_digits_have_fourteen_writers() -> None:
    """Each block has about 130 digits, with each class about as often."""
    labels, blocks = load_digits(return_X_y=True)[1], writer_blocks()
    counts = np.unique(blocks, return_counts=True)[1]
    assert len(counts) == 14
    assert counts.min() >= 122
    assert counts.max() <= 130
    for name in np.unique(blocks):
        # Three times all digits in order, but for what was left out of two sheets.
        assert (labels[blocks == name][:30] != np.tile(np.arange(10), 3)).sum() <= 12
        assert np.bincount(labels[blocks == name], minlength=10).min() >= 9


def test_splits_keep_writers_apart() -> None:
    """The fixed ones, folds, and another division of training and validation images."""
    fixed = load(DataConfig("digits", groups="writers"))
    assert apart(fixed.groups)
    assert fixed.split_by == "group"
    assert fixed.sizes == {name: len(each) for name, each in fixed.groups.items()}
    assert abs(fixed.sizes["test"] - 360) < 70
    assert abs(fixed.sizes["validation"] - 300) < 70
    again = resplit(fixed, 7)
    assert apart(again.groups)
    assert again.sizes["validation"] == len(again.validation["labels"]) == len(again.groups["validation"])
    assert again.validation_hash != fixed.validation_hash
    tests = [load(DataConfig("digits", groups="writers", fold=(number, 5, 0))) for number in range(5)]
    assert all(apart(each.groups) for each in tests)
    assert sum(len(set(each.groups["test"].tolist())) for each in tests) == 14
    assert sum(each.sizes["test"] for each in tests) == 1797


def test_folds_of_groups_are_about_equal() -> None:
    """The largest group is added to the smallest fold."""
    groups = np.repeat([f"g{n}" for n in range(7)], [40, 10, 10, 10, 10, 10, 10])
    parts = [divide_folds(np.zeros(100, int), (number, 3, 1), 0.2, None, groups)["test"] for number in range(3)]
    assert sorted(map(len, parts)) == [30, 30, 40]
    with pytest.raises(InputError, match="folds=8: the images are of 7 groups"):
        divide_folds(np.zeros(100, int), (0, 8, 1), 0.2, None, groups)


def test_another_group_moves_no_other() -> None:
    """Their order is by a hash of their names."""
    few, more = np.array(["a", "b", "c", "b"]), np.array(["a", "b", "c", "b", "new"])
    order = [name for name in more[group_order(more)].tolist() if name != "new"]
    assert order == few[group_order(few)].tolist()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve patients with four images each, two classes."""
    for patient in range(12):
        for number in range(4):
            place = tmp_path / "cells" / ("ill" if patient % 2 else "well")
            place.mkdir(parents=True, exist_ok=True)
            shade = 20 * patient + number
            Image.new("L", (8, 8), shade).save(place / f"patient{patient}_{number}.png")
    return tmp_path / "cells"


def test_groups_by_a_pattern_of_names(folder: Path) -> None:
    """All images of a patient are in one split."""
    found = load(DataConfig(str(folder), groups=r"patient(\d+)"))
    assert apart(found.groups)
    assert sum(found.sizes.values()) == 48
    # The images say which patient they show, so that groups and images belong together.
    shown = found.load_test()["images"][:, 0, 0, 0] // 20
    assert shown.astype(str).tolist() == found.groups["test"].tolist()
    assert load(DataConfig(str(folder), groups=r"patient\d+")).groups["test"][0].startswith("patient")


@pytest.mark.parametrize(
    ("groups", "message"),
    [("patient(", "no regular expression"), ("writer", "does not match|it does not match"), ("p", "of one group")],
)
def test_a_pattern_that_gives_no_groups_is_refused(folder: Path, groups: str, message: str) -> None:
    """The message names it."""
    with pytest.raises(InputError, match=message):
        load(DataConfig(str(folder), groups=groups))


def test_the_digits_have_writers_only() -> None:
    """The message says so."""
    with pytest.raises(InputError, match="groups='pages': the digits have writers only"):
        load(DataConfig("digits", groups="pages"))


def test_groups_that_splits_of_the_source_share_are_refused(folder: Path, tmp_path: Path) -> None:
    """Cross-validation divides all images, and keeps them apart."""
    split = tmp_path / "split"
    for name in ("train", "test"):
        for each in ("ill", "well"):
            (split / name / each).mkdir(parents=True)
    for file in folder.rglob("*.png"):
        part = "test" if file.stem.endswith("_3") else "train"
        (split / part / file.parent.name / file.name).write_bytes(file.read_bytes())
    config = DataConfig(str(split), groups=r"patient(\d+)")
    with pytest.raises(InputError, match=r"is in the .* and in the test split of data set"):
        load(config)
    assert apart(load(DataConfig(str(split), groups=r"patient(\d+)", fold=(1, 3, 0))).groups)
