"""Mixing in pairs: labels and pixels agree, pairs are symmetric, and nobody else in the batch matters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxcnn.data import normalize
from jaxcnn.data.augment.mixing import MIXES, cutmix, make_mix, mixup
from jaxcnn.errors import InputError

COUNT = 8
WAYS = [("mixup",), ("cutmix",), ("mixup", "cutmix")]
JITTED = {names: jax.jit(make_mix(names)) for names in WAYS}  # type: ignore[arg-type]
BOTH = WAYS[-1]


def batch_of(count=COUNT, mask=None, dtype="float32", size=(6, 5), seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, *size, 2))
    return {
        "images": jnp.asarray(images, dtype),
        "labels": jnp.arange(count, dtype=jnp.int32) + 10,
        "mask": jnp.ones(count) if mask is None else jnp.asarray(mask, jnp.float32),
        "index": jnp.arange(count, dtype=jnp.int32),
    }


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(WAYS),
    st.lists(st.booleans(), min_size=COUNT, max_size=COUNT),
    st.integers(0, 9),
    st.integers(0, 2**31 - 1),
)
def test_the_laws_of_mixing(names, mask, start, seed):
    batch = batch_of(mask=mask)
    mixed = jax.tree.map(np.asarray, JITTED[names](jax.random.key(seed), batch, start))
    old, labels = np.asarray(batch["images"], np.float64), np.asarray(batch["labels"])
    for name in ("labels", "mask", "index"):
        np.testing.assert_array_equal(mixed[name], batch[name])
    assert ((mixed["share"] >= 0) & (mixed["share"] <= 1)).all()
    for i in range(COUNT):
        j = ((i + start) ^ 1) - start
        if not (0 <= j < COUNT and mask[i] and mask[j]):
            assert mixed["share"][i] == 1.0
            assert mixed["mixed_labels"][i] == labels[i]
            np.testing.assert_array_equal(mixed["images"][i], old[i])
            continue
        assert mixed["mixed_labels"][i] == labels[j]
        assert mixed["mixed_labels"][j] == labels[i]
        assert mixed["share"][i] == mixed["share"][j]
        # What one gives the other gets.
        np.testing.assert_allclose(mixed["images"][i] + mixed["images"][j], old[i] + old[j], rtol=1e-5, atol=1e-3)


def test_mixup_weighs_pixels_as_labels():
    batch = batch_of()
    mixed = JITTED["mixup",](jax.random.key(3), batch, 0)
    share, images = np.asarray(mixed["share"])[:, None, None, None], np.asarray(batch["images"])
    partner = images[np.arange(COUNT) ^ 1]
    np.testing.assert_allclose(mixed["images"], share * images + (1 - share) * partner, rtol=1e-5, atol=1e-3)
    assert len(np.unique(mixed["share"])) == COUNT // 2


def test_cutmix_takes_a_rectangle_and_labels_its_exact_area():
    batch = {**batch_of(200, size=(9, 14)), "images": jnp.arange(200.0)[:, None, None, None] * jnp.ones((1, 9, 14, 2))}
    mixed = JITTED["cutmix",](jax.random.key(5), batch, 0)
    foreign = np.asarray(mixed["images"]) != np.arange(200.0)[:, None, None, None]
    values = np.asarray(mixed["images"])[foreign]
    np.testing.assert_array_equal(
        values, np.broadcast_to((np.arange(200) ^ 1)[:, None, None, None], foreign.shape)[foreign]
    )
    cells = foreign[..., 0]
    np.testing.assert_array_equal(foreign[..., 1], cells)
    np.testing.assert_array_equal(cells.any(axis=2).sum(axis=1) * cells.any(axis=1).sum(axis=1), cells.sum(axis=(1, 2)))
    np.testing.assert_allclose(mixed["share"], 1 - cells.mean(axis=(1, 2)), rtol=1e-6)
    assert len(np.unique(mixed["share"])) > 30


def test_shares_of_mixup_follow_the_published_distribution():
    keys = jax.random.split(jax.random.key(0), 3000)
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: mixup(key, (4, 4))))(keys), np.float64).ravel()
    assert stats.kstest(np.clip(drawn, 1e-12, 1 - 1e-7), stats.beta(0.2, 0.2).cdf).pvalue > 0.01


def test_the_rectangle_of_cutmix_follows_the_published_distribution():
    """Where it touches no edge its area is 1 - l for a uniform l, less what whole pixels cut off."""
    keys = jax.random.split(jax.random.key(1), 3000)
    inside = 1 - np.asarray(jax.jit(jax.vmap(lambda key: cutmix(key, (64, 64))))(keys))
    rows, columns = inside.any(axis=2), inside.any(axis=1)
    whole = ~(rows[:, 0] | rows[:, -1] | columns[:, 0] | columns[:, -1])
    area = inside[whole].mean(axis=(1, 2))
    # Of side s, s uniform in its square, a share (1 - s)^2 of the places touches no edge.
    s = np.linspace(0, 1, 1001)
    density = 2 * s * (1 - s) ** 2
    cdf = np.cumsum(density) / density.sum()
    for share in (0.25, 0.5, 0.75):
        assert abs(np.sqrt(np.quantile(area, share)) - s[np.searchsorted(cdf, share)]) < 0.04


def test_of_two_ways_each_pair_draws_one():
    images = jnp.tile(jnp.array([0.0, 1.0]), COUNT // 2)[:, None, None, None] * jnp.ones((1, 6, 5, 2))
    batch = {**batch_of(), "images": images}
    mixed = [JITTED[BOTH](jax.random.key(seed), batch, 0)["images"] for seed in range(50)]
    flat = np.stack(mixed).reshape(-1, 2, 60)
    between = ((flat > 0.001) & (flat < 0.999)).any(axis=(1, 2))
    torn = ((flat == 0.0) | (flat == 1.0)).all(axis=(1, 2)) & (flat.std(axis=2) > 0).all(axis=1)
    assert not (between & torn).any()
    assert between.mean() > 0.25  # mixup, half of the pairs, though some weights are next to 0 or 1
    assert torn.mean() > 0.25  # cutmix, but for rectangles of nothing or of all


@pytest.mark.slow
def test_parts_of_a_batch_mix_as_the_whole():
    batch, key, mix = batch_of(), jax.random.key(4), JITTED[BOTH]
    whole = mix(key, batch, 0)
    for first in (0, 4):
        part = mix(key, {name: value[first : first + 4] for name, value in batch.items()}, first)
        for name, value in part.items():
            np.testing.assert_allclose(value, whole[name][first : first + 4], rtol=1e-6)


@pytest.mark.slow
def test_devices_that_share_a_batch_agree_with_one():
    batch, key, mix = batch_of(), jax.random.key(6), JITTED[BOTH]
    each = COUNT // jax.device_count()

    def part(block):
        return mix(key, block, jax.lax.axis_index("d").astype(jnp.uint32) * each)

    blocks = jax.tree.map(lambda x: x.reshape(-1, each, *x.shape[1:]), batch)
    spread = jax.tree.map(lambda x: x.reshape(COUNT, *x.shape[2:]), jax.pmap(part, axis_name="d")(blocks))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4), spread, mix(key, batch, 0))


def test_normalisation_may_come_before_or_after():
    batch, key, mean, std = batch_of(), jax.random.key(7), np.array([0.4, 0.5]), np.array([0.2, 0.3])
    for mix in JITTED.values():
        before = mix(key, {**batch, "images": normalize(batch["images"], mean, std)}, 0)["images"]
        after = normalize(mix(key, batch, 0)["images"], mean, std)
        np.testing.assert_allclose(before, after, atol=1e-4)


def test_types():
    key, mix = jax.random.key(8), JITTED["cutmix",]
    exact = mix(key, batch_of(), 0)
    for dtype, expected in (("uint8", "float32"), ("bfloat16", "bfloat16")):
        mixed = mix(key, batch_of(dtype=dtype), 0)
        assert mixed["images"].dtype == expected
        assert (mixed["share"].dtype, mixed["mixed_labels"].dtype) == (jnp.float32, jnp.int32)
        np.testing.assert_array_equal(mixed["images"].astype(jnp.float32), exact["images"])  # whole numbers to 256


def test_names():
    assert make_mix(()) is None
    assert set(MIXES) == {"mixup", "cutmix"}
    with pytest.raises(InputError, match="mix='cutout' is unknown; choose from cutmix, mixup"):
        make_mix(("cutout",))
