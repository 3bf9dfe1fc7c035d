"""Open set: from which distance on is an image of none of the known classes?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxcnn.analysis.scores.few_shot import class_members
from jaxcnn.analysis.scores.verification import equal_error, roc_curve
from jaxcnn.errors import InputError

DRAWS = 200  # simulated galleries


class Unknown(NamedTuple):
    """The calibrated distance.

    Args:
        threshold: Distance to the nearest prototype above which an image is unknown.
        error: Share of known images called unknown, equal to the share of unknown images that get a name.
        names: Classes of the simulated galleries: as asked for, or as many as the vectors allow.
    """

    threshold: float
    error: float
    names: int


def calibrate_unknown(vectors: np.ndarray, labels: np.ndarray, names: int, shots: int, seed: int = 0) -> Unknown:
    """Compute from which distance on an image is unknown to a gallery of `names` classes with `shots` images each.

    Galleries are drawn from classes that have vectors here; the other images of these classes are known ones, those
    of the other classes unknown ones. The threshold makes both kinds of error equally frequent.

    Args:
        vectors: float (N, D), of classes that the network was not trained on.
        labels: int (N,).
        names: Classes of the gallery; half of the classes at most.
        shots: Images of each.
        seed: Seed of the drawing.

    Raises:
        InputError: Fewer than two classes have shots + 1 images.

    >>> vectors, labels = np.repeat(10 * np.eye(4), 3, axis=0), np.repeat(np.arange(4), 3)
    >>> calibrate_unknown(vectors, labels, names=2, shots=1).error
    0.0
    """
    members = class_members(labels, shots + 1)
    if len(members) < 2:
        raise InputError(f"shots={shots}: two classes with {shots + 1} images are needed, there are {len(members)}")
    names, rng = max(1, min(names, len(members) // 2)), np.random.default_rng(seed)
    vectors, nearest, known = np.asarray(vectors, np.float64), [], []
    for _ in range(DRAWS):
        rows = [rng.permutation(members[each]) for each in rng.permutation(len(members))[: 2 * names]]
        means = np.stack([vectors[row[:shots]].mean(axis=0) for row in rows[:names]])
        asked = [row[shots:] for row in rows[:names]] + rows[names:]
        squares = np.square(vectors[np.concatenate(asked)][:, None] - means[None]).sum(axis=2)
        nearest.append(np.sqrt(squares.min(axis=1)))
        known.append(np.arange(len(nearest[-1])) < sum(map(len, asked[:names])))
    error, threshold = equal_error(roc_curve(np.concatenate(nearest), np.concatenate(known)))
    return Unknown(threshold, error, names)
