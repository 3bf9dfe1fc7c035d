"""The one object of an image: which one it is, what the loss is, and that nothing is ever NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.errors import InputError
from jaxcnn.models import build
from jaxcnn.spec import Localization, ModelSpec, RunConfig
from jaxcnn.tasks import localization
from jaxcnn.tasks.localization import largest

N, M, K = 3, 2, 3
BOXES = np.array(
    [[[0, 0, 0.2, 0.2], [0.1, 0.2, 0.6, 0.8]], [[0, 0, 1, 1], [0, 0, 0, 0]], [[0, 0, 0, 0]] * 2], np.float32
)
LABELS = np.array([[0, 2], [1, -1], [-1, -1]], np.int32)
TASK = localization()
GRADIENT = jax.jit(jax.value_and_grad(TASK.loss, has_aux=True))


def batch(boxes=BOXES, labels=LABELS, mask=(1, 1, 1), **more):
    arrays = {"boxes": jnp.asarray(boxes), "labels": jnp.asarray(labels), **more}
    return arrays | {"images": jnp.zeros((N, 8, 8, 1)), "mask": jnp.asarray(mask, jnp.float32)}


def outputs(seed=0):
    rng = np.random.default_rng(seed)
    centre, half = rng.uniform(0.2, 0.8, (N, 2)), rng.uniform(0.05, 0.2, (N, 2))
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    return {"logits": jnp.asarray(rng.normal(size=(N, K)), jnp.float32), "boxes": jnp.asarray(boxes, jnp.float32)}


def test_the_object_is_the_largest_that_is_no_crowd():
    label, box, present = largest(batch())
    assert label.tolist() == [2, 1, 0]
    np.testing.assert_allclose(box[:2], BOXES[[0, 1], [1, 0]])
    assert present.tolist() == [1, 1, 0]
    crowd = jnp.asarray([[False, True], [True, False], [False, False]])
    label, _, present = largest(batch(crowd=crowd))
    assert (label.tolist(), present.tolist()) == ([0, 0, 0], [1, 0, 0])


def test_the_loss_by_hand():
    """One image: 1 - GIoU of two boxes side by side, smooth L1 of the corners, cross-entropy of even logits."""
    found = {"logits": jnp.zeros((N, K)), "boxes": jnp.broadcast_to(jnp.array([0.0, 0.5, 1.0, 1.0]), (N, 4))}
    boxes = np.broadcast_to(np.array([0, 0, 1, 0.5], np.float32), (N, M, 4)).copy()
    total, weight = localization(Localization(box_weight=2.0)).loss(found, batch(boxes, mask=(0, 1, 1)))
    assert float(weight) == 1
    giou, smooth = 0.0, 2 * (0.5 - 0.05)  # no overlap, no gap: the hull is their union; two corners are half apart
    assert float(total) == pytest.approx(np.log(K) + 2.0 * (1 - giou + smooth), rel=1e-5)


def test_sums_and_stored_arrays_agree():
    found, data = outputs(), batch()
    found["boxes"] = found["boxes"].at[0].set(jnp.asarray(BOXES[0, 1]))
    found["logits"] = found["logits"].at[0, 2].set(9.0)
    metrics = TASK.metrics({name: float(value) for name, value in TASK.sums(found, data).items()})
    decoded = {name: np.asarray(value) for name, value in TASK.decode(found).items()}
    saved = TASK.save(decoded, {"labels": LABELS, "boxes": BOXES})
    real = saved["labels"] >= 0
    assert saved["labels"].tolist() == [2, 1, -1]
    assert metrics["mean_iou"] == pytest.approx(saved["iou"][real].mean(), rel=1e-5)
    assert metrics["accuracy"] == pytest.approx((saved["labels"] == saved["predictions"])[real].mean())
    assert saved["iou"][0] == pytest.approx(1, abs=1e-5)
    assert metrics["localised"] == pytest.approx(0.5)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.booleans(), min_size=N, max_size=N), st.integers(0, 99), st.sampled_from(["none", "point", "some"]))
def test_nothing_is_ever_nan(mask, seed, kind):
    rng = np.random.default_rng(seed)
    boxes = np.sort(rng.uniform(0, 1, (N, M, 2, 2)), axis=2).reshape(N, M, 4).astype(np.float32)
    labels = rng.integers(-1, K, (N, M)).astype(np.int32)
    if kind == "none":
        labels[:] = -1
    if kind == "point":
        boxes[..., 2:] = boxes[..., :2]
    (total, weight), gradients = GRADIENT(outputs(seed), batch(boxes, labels, mask))
    assert np.isfinite([float(total), float(weight)]).all()
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(gradients))
    if not (np.array(mask)[:, None] & (labels >= 0)).any():
        assert (float(total), float(weight)) == (0, 0)


def test_the_head_on_any_backbone():
    for family, depth in (("resnet", 8), ("plain", 4), ("wrn", 10)):
        spec = ModelSpec(family, depth, 2, head="localizer")
        assert RunConfig(spec).task == Localization()
        module = build(spec, K)
        found = jax.eval_shape(
            lambda x, module=module: module.init_with_output(jax.random.key(0), x)[0],
            jax.ShapeDtypeStruct((2, 40, 48, 3), jnp.float32),
        )
        assert {name: each.shape for name, each in found.items()} == {"logits": (2, K), "boxes": (2, 4)}


def test_other_outputs_are_refused():
    with pytest.raises(InputError, match="head='localizer'"):
        TASK.loss(jnp.zeros((N, K)), batch())
