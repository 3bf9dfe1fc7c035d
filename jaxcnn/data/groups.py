"""Groups of images that belong together, such as the pictures of one writer, scene or patient."""

import re
from collections.abc import Iterable

import numpy as np

from jaxcnn.data.dataset import Pool
from jaxcnn.errors import InputError
from jaxcnn.records import shortened


def read_groups(data: str, pool: Pool, groups: str, names: Iterable[str] | None, count: int) -> np.ndarray:
    r"""Return the group of each image of a pool, str (count,).

    Args:
        data: Name of the data set, for errors.
        pool: One split of its source.
        groups: `DataConfig.groups`.
        names: Names of the images that were read; None: they have none.
        count: Number of images that were read.

    Raises:
        InputError: The source has no such groups, or the pattern does not match a name.

    >>> read_groups("cells", Pool(2, iter), r"patient(\d+)", ["a/patient07_1.png", "b/patient3.png"], 2).tolist()
    ['07', '3']
    """
    if names is not None:
        return by_name(data, names, groups)
    if pool.groups is None:
        raise InputError(f"groups={groups!r}: images of data set {data!r} have neither names nor groups; leave it out")
    found = pool.groups(groups)
    if len(found) != count:
        raise InputError(f"groups={groups!r}: images of data set {data!r} were skipped; repair them, or leave it out")
    return found


def by_name(data: str, names: Iterable[str], pattern: str) -> np.ndarray:
    """Return the part of each name that a regular expression gives: its first group, else all that it matches.

    Raises:
        InputError: It is no regular expression, or does not match a name.
    """
    try:
        search, found = re.compile(pattern).search, list[str]()
    except re.error as error:
        raise InputError(f"groups={pattern!r}: it is no regular expression ({error}); correct it") from None
    for name in names:
        if (match := search(name)) is None or match.group(match.re.groups and 1) is None:
            raise InputError(
                f"groups={pattern!r}: it does not match {shortened(name)} of data set {data!r}; correct it"
            )
        found.append(match.group(match.re.groups and 1))
    return np.array(found)


def writer_blocks(labels: np.ndarray) -> np.ndarray:
    """Return the writer of each of scikit-learn's digits, str (N,): all began with the digits in order, three times.

    Their sheets follow one another; the labels show where each begins, and nothing else names the writers.
    """
    start = np.tile(np.arange(10), 3)
    begins = [place for place in range(len(labels) - 29) if np.array_equal(labels[place : place + 30], start)]
    return np.char.add("writer", np.searchsorted(begins, np.arange(len(labels)), side="right").astype(str))
