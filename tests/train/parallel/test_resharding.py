"""A checkpoint knows no devices: saved from four, restored onto two."""

import jax
import numpy as np
import pytest

from jaxcnn.train import Checkpoints, sharded
from tests.train.driven import begun, start, steps, train, trained, way
from tests.train.small import same


@pytest.mark.slow
def test_a_state_saved_from_four_devices_goes_on_on_two(tmp_path):
    two = sharded(*steps(), devices=2)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        saved = trained(way("sharded"), epochs=2, checkpoints=checkpoints)
        restored, sums = checkpoints.restore(start())
    placed = two.place(restored)
    assert {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(placed)} == {2}
    assert same(two.fetch(placed), saved.state)
    later = train(two, begun(state=restored, sums=sums, epochs=4))
    whole = trained(way("sharded"), epochs=4)
    for a, b in zip(jax.tree.leaves(later.state.params), jax.tree.leaves(whole.state.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
