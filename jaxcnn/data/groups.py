"""Groups of images that belong together, such as the pictures of one writer, scene or patient."""

import re
from collections.abc import Iterable

import numpy as np

from jaxcnn.data.dataset import Pool
from jaxcnn.errors import InputError
from jaxcnn.records import shortened

CLASS = "class"
"""Name of the groups that are the classes themselves."""
WRITERS = (0, 130, 256, 386, 516, 646, 776, 905, 1029, 1157, 1287, 1415, 1545, 1667)
"""Index of the first of each writer's digits. Nothing names the writers, but their sheets follow one another, and each
has the digits in the same order: all ten three times, then 0 9 5 5 6 5 ..., with a few left out."""


def read_groups(data: str, pool: Pool, groups: str, names: Iterable[str] | None, labels: np.ndarray) -> np.ndarray:
    r"""Return the group of each image of a pool, str (N,).

    Args:
        data: Name of the data set, for errors.
        pool: One split of its source.
        groups: `DataConfig.groups`.
        names: Names of the images that were read; None: they have none.
        labels: Targets of the images that were read; groups="class" are those of one class each.

    Raises:
        InputError: The source has no such groups, or the pattern does not match a name.

    >>> read_groups("cells", Pool(2, iter), r"patient(\d+)", ["a/patient07.png", "patient3.png"], np.zeros(2)).tolist()
    ['07', '3']
    """
    if groups == CLASS and labels.ndim == 1:
        return labels.astype(str)
    if names is not None:
        return by_name(data, names, groups)
    if pool.groups is None:
        raise InputError(f"groups={groups!r}: images of data set {data!r} have neither names nor groups; leave it out")
    found = pool.groups(groups)
    if len(found) != len(labels):
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


def writer_blocks() -> np.ndarray:
    """Return the writer of each of scikit-learn's 1,797 digits, str (1797,).

    >>> np.unique(writer_blocks()).size
    14
    """
    return np.char.add("writer", np.searchsorted(WRITERS, np.arange(1797), side="right").astype(str))
