"""Few-shot episodes: how well a few images of each class name others. Vinyals et al. 2016; Snell et al. 2017."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxcnn.errors import InputError


class FewShot(NamedTuple):
    """Accuracy over episodes.

    Args:
        accuracy: Mean over the episodes.
        half_width: Half of the 95 % interval of that mean, 1.96 standard errors over the episodes. The images and
            classes are those given: it does not tell of other classes.
        episodes: Number of episodes.
    """

    accuracy: float
    half_width: float
    episodes: int


def class_members(labels: np.ndarray, least: int) -> list[np.ndarray]:
    """Return the indices of the examples of each class that has at least `least` of them.

    >>> [each.tolist() for each in class_members(np.array([3, 1, 3, 2, 1]), 2)]
    [[1, 4], [0, 2]]
    """
    classes, counts = np.unique(labels, return_counts=True)
    return [np.flatnonzero(labels == each) for each in classes[counts >= least]]


def draw_episode(
    rng: np.random.Generator, members: list[np.ndarray], ways: int, shots: int, queries: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw classes, and images of them without replacement.

    Args:
        rng: Generator.
        members: Indices of the examples of each class (`class_members`).
        ways: Number of classes.
        shots: Known images of each class.
        queries: Images of each class to be named, at most; as many as it has.

    Returns:
        Indices of the known images (ways, shots) and of those to be named (Q,), and the latter's class, 0 to ways - 1.

    >>> draw_episode(np.random.default_rng(0), [np.arange(4), np.arange(4, 8)], 2, 1, 3)[0].shape
    (2, 1)
    """
    chosen = [rng.permutation(members[each])[: shots + queries] for each in rng.permutation(len(members))[:ways]]
    known = np.stack([rows[:shots] for rows in chosen])
    asked = [rows[shots:] for rows in chosen]
    return known, np.concatenate(asked), np.repeat(np.arange(ways), [len(rows) for rows in asked])


def few_shot_accuracy(
    vectors: np.ndarray,
    labels: np.ndarray,
    ways: int,
    shots: int,
    *,
    queries: int = 15,
    episodes: int = 1000,
    seed: int = 0,
) -> FewShot:
    """Compute the accuracy of naming images by the nearest mean vector of `shots` images of each of `ways` classes.

    Args:
        vectors: float (N, D).
        labels: int (N,), of classes that the network was not trained on.
        ways: Classes of an episode.
        shots: Known images of each.
        queries: Images of each class to be named, at most.
        episodes: Number of episodes.
        seed: Seed of their drawing.

    Raises:
        InputError: Fewer than `ways` classes have shots + 1 images.

    >>> vectors, labels = np.repeat(np.eye(3), 4, axis=0), np.repeat(np.arange(3), 4)
    >>> few_shot_accuracy(vectors, labels, ways=3, shots=1, episodes=10)
    FewShot(accuracy=1.0, half_width=0.0, episodes=10)
    """
    members = class_members(labels, shots + 1)
    if not 2 <= ways <= len(members):
        raise InputError(f"ways={ways}: must be from 2 to {len(members)}, the classes with {shots + 1} images or more")
    rng, vectors = np.random.default_rng(seed), np.asarray(vectors, np.float64)
    found = np.empty(episodes)
    for episode in range(episodes):
        known, asked, names = draw_episode(rng, members, ways, shots, queries)
        means = vectors[known].mean(axis=1)
        # |q|^2 is the same for all means of a query.
        nearest = (np.square(means).sum(axis=1)[None] - 2 * vectors[asked] @ means.T).argmin(axis=1)
        found[episode] = (nearest == names).mean()
    error = found.std(ddof=1) / np.sqrt(episodes) if episodes > 1 else 0.0
    return FewShot(float(found.mean()), float(1.96 * error), episodes)
