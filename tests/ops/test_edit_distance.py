"""The edit distance, against published examples and the recursive definition."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.ops import edit_distance

MOST = 7
DISTANCE = jax.jit(edit_distance)


def padded(word):
    return jnp.asarray([*word, *[-1] * (MOST - len(word))], jnp.int32)[None]


def recursive(a, b):
    """Levenshtein 1966, as a recursion on prefixes."""

    @lru_cache
    def at(i, j):
        if i == 0 or j == 0:
            return i + j
        return min(at(i - 1, j) + 1, at(i, j - 1) + 1, at(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return at(len(a), len(b))


def test_published_examples():
    """Wagner and Fischer 1974 and textbooks: kitten and sitting are 3 apart, sunday and saturday 3."""
    for a, b in (("kitten", "sitting"), ("sunday", "saturday")):
        rows = [jnp.asarray([[ord(c) for c in word]], jnp.int32) for word in (a, b)]
        assert edit_distance(*rows).tolist() == [3]


words = st.lists(st.integers(0, 3), max_size=MOST).map(tuple)


@settings(max_examples=100, deadline=None)
@given(words, words)
def test_it_is_the_recursion(a, b):
    assert DISTANCE(padded(a), padded(b)).tolist() == [recursive(a, b)]


def test_many_at_once():
    rng = np.random.default_rng(0)
    pairs = [
        (tuple(rng.integers(0, 3, rng.integers(0, 8))), tuple(rng.integers(0, 3, rng.integers(0, 8))))
        for _ in range(20)
    ]
    a, b = (jnp.concatenate([padded(pair[k]) for pair in pairs]) for k in (0, 1))
    assert DISTANCE(a, b).tolist() == [recursive(*pair) for pair in pairs]
