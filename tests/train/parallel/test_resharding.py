"""A checkpoint knows no devices: saved from four, restored onto two."""

import jax
import numpy as np

from jaxcnn.tasks import classification
from jaxcnn.train import Checkpoints, Plan, fit, sharded
from tests.train.driven import BATCH, TRAIN, VALIDATION, start, steps


def test_a_state_saved_from_four_devices_goes_on_on_two(tmp_path):
    key, task = jax.random.key(100), classification()
    four, two = sharded(*steps(), devices=4), sharded(*steps(), devices=2)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        state, _ = fit(start(), four, task, TRAIN, VALIDATION, Plan(2, BATCH, 0), key, checkpoints=checkpoints)
        restored, sums = checkpoints.restore(start())
    placed = two.place(restored)
    assert {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(placed)} == {2}
    for a, b in zip(jax.tree.leaves(two.fetch(placed)), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(a, b)
    later, _ = fit(restored, two, task, TRAIN, VALIDATION, Plan(4, BATCH, 0), key, sums=sums)
    whole, _ = fit(start(), four, task, TRAIN, VALIDATION, Plan(4, BATCH, 0), key)
    for a, b in zip(jax.tree.leaves(later.params), jax.tree.leaves(whole.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
