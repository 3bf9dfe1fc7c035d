"""The tasks of docs/architecture.md train through `jaxcnn.train` as it is, and padding changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.spec import OptimizerConfig, RunConfig
from jaxcnn.train import Run, fit, make_eval_step, make_init, make_optimizer, make_train_step, single_device
from tests.docs import task_sketches as sketches

pytestmark = pytest.mark.slow

N = 6
OPTIMIZER = OptimizerConfig(learning_rate=0.01, schedule="constant", warmup_epochs=0, weight_decay=0)


def arrays(**targets: np.ndarray) -> dict[str, np.ndarray]:
    """Six random images and their targets."""
    images = np.random.default_rng(0).normal(size=(N, 16, 16, 1)).astype(np.float32)
    return {"images": images, **targets}


def detection() -> dict[str, np.ndarray]:
    """Two boxes an image, the second of every other image padding."""
    boxes = np.broadcast_to(np.array([[0.0, 0.0, 0.5, 0.5], [0.4, 0.4, 1.0, 1.0]], np.float32), (N, 2, 4)).copy()
    labels = np.stack([np.arange(N) % 3, np.where(np.arange(N) % 2, 1, -1)], axis=1).astype(np.int32)
    return arrays(labels=labels, boxes=boxes)


LABELS = (np.arange(N) % 3).astype(np.int32)
PAIRS = np.random.default_rng(1).normal(size=(N, 2, 16, 16, 1)).astype(np.float32)
PIXELS = np.random.default_rng(2).integers(-1, 3, (N, 16, 16)).astype(np.int32)
CASES = {
    "localization": (
        sketches.Localizer(),
        sketches.localization(),
        arrays(labels=LABELS, boxes=detection()["boxes"][:, 1]),
        None,
    ),
    "one_stage": (sketches.OneStage(), sketches.one_stage_detection(sketches.ANCHORS), detection(), None),
    "two_stage": (sketches.TwoStage(), sketches.two_stage_detection(), detection(), sketches.draw_samples),
    "segmentation": (sketches.Segmenter(), sketches.segmentation(3), arrays(labels=PIXELS), None),
    "triplet": (sketches.Embedder(), sketches.triplet(), arrays(labels=LABELS), None),
    "siamese": (
        sketches.Siamese(),
        sketches.siamese(),
        {"images": PAIRS, "labels": (LABELS > 0).astype(np.int32)},
        None,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_task_trains_without_a_change_to_train(case: str) -> None:
    """The last batch is padded; the content of the padding changes nothing."""
    module, task, data, prepare = CASES[case]
    tx = make_optimizer(OPTIMIZER, 8, 2)
    programs = single_device(
        make_train_step(module, tx, task, prepare=prepare), make_eval_step(module, task, prepare=prepare)
    )
    key = jax.random.key(1)
    state = jax.device_get(make_init(module, tx, data["images"].shape[1:])(jax.random.key(0)))

    zero, seven = (programs.train(programs.place(state), padded(data, fill), key) for fill in (0, 7))
    for a, b in zip(jax.tree.leaves(zero), jax.tree.leaves(seven), strict=True):
        assert jnp.allclose(a, b, rtol=1e-5, atol=1e-5)

    run = Run(RunConfig(epochs=4, batch_size=4), state, key)
    fit([run], programs, task, data, data)
    assert int(run.state.step) == 8
    values = [value for name, value in run.history[-1].items() if name.startswith(("train_", "validation_"))]
    assert len(values) >= 2
    assert np.isfinite(values).all()
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), state.params, run.state.params)
    assert all(jax.tree.leaves(moved))


def padded(data: dict[str, np.ndarray], fill: int) -> dict[str, np.ndarray]:
    """Three examples and a row of padding: its image is all `fill`, its targets are those of another example."""
    batch = {name: np.concatenate([values[:3], values[3:4]]) for name, values in data.items()}
    batch["images"][3] = fill
    if fill:
        batch["labels"][3] = data["labels"][4]
    return {**batch, "mask": np.array([1, 1, 1, 0], np.float32)}
