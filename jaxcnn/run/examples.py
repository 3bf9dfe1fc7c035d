"""Which examples of a split to look at, and what to write below them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxcnn.pictures.gallery import Row

Arrays = Mapping[str, np.ndarray]
MOST = 24
LONGEST = 11
"""Characters of a class name below an image."""


def worst_mistakes(saved: Arrays, most: int = MOST) -> np.ndarray:
    """Return indices of the misclassified examples, those first of whose wrong class the network was surest.

    Args:
        saved: Predictions as classification saves them: correct and probability are read.
        most: Largest number of indices.

    >>> worst_mistakes({"correct": np.array([1, 0, 0]), "probability": np.array([0.9, 0.5, 0.8])}).tolist()
    [2, 1]
    """
    wrong = np.flatnonzero(~np.asarray(saved["correct"], bool))
    return wrong[np.argsort(-saved["probability"][wrong], kind="stable")][:most]


def sure_and_unsure(saved: Arrays, most: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Return indices of correct examples: of the surest, and of the least sure.

    >>> saved = {"correct": np.array([1, 1, 0]), "probability": np.array([0.6, 0.9, 0.8])}
    >>> [each.tolist() for each in sure_and_unsure(saved, 1)]
    [[1], [0]]
    """
    right = np.flatnonzero(saved["correct"])
    order = right[np.argsort(-saved["probability"][right], kind="stable")]
    return order[:most], order[::-1][:most]


def example_row(saved: Arrays, indices: np.ndarray, split: Mapping[str, Any], names: Sequence[str]) -> Row:
    """Return the images of some examples of a split, below each its true class, the predicted one, and how sure it was.

    Args:
        saved: Predictions of the split, as classification saves them.
        indices: The examples.
        split: Arrays of the split; images are read.
        names: Names of the classes.
    """
    captions = []
    for n in indices:
        true, named = (_short(str(names[int(saved[key][n])])) for key in ("labels", "predictions"))
        second = "" if saved["correct"][n] else f"→ {named}\n"
        captions.append(f"{true}\n{second}{saved['probability'][n]:.3f}")
    return Row([np.asarray(split["images"][n]) for n in indices], captions=captions)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
