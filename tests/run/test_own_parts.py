"""A user's own task, optimizer, augmentation and initial variables are trained, recorded and resumed, or refused."""

import json
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from jaxcnn.data.augment import AUGMENTATIONS
from jaxcnn.errors import InputError
from jaxcnn.run import evaluate_run, load_model, load_result, predict, run, run_members, run_seeds
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig
from jaxcnn.tasks import Task, cross_entropy, images_only
from jaxcnn.train import TrainState
from tests.train.small import timeless

CONFIG = RunConfig(
    model=ModelSpec("dense", 2, 8), data=DataConfig(train_size=100), epochs=2, batch_size=50,
    optimizer=OptimizerConfig(learning_rate=0.05, warmup_epochs=0.0, schedule="constant"),
)  # fmt: skip
SMOOTHED = SimpleNamespace(by=0.2)
"""What the parts below read, so that a test can edit them."""


def loss(logits, batch):
    return (cross_entropy(logits, batch["labels"], SMOOTHED.by) * batch["mask"]).sum(), batch["mask"].sum()


def sums(logits, batch):
    right = (logits.argmax(1).astype(jnp.int32) == batch["labels"]).astype(jnp.float32)
    return {
        "loss": (cross_entropy(logits, batch["labels"]) * batch["mask"]).sum(),
        "right": (right * batch["mask"]).sum(),
        "count": batch["mask"].sum(),
    }


def decode(logits):
    return {"predictions": logits.argmax(1).astype(jnp.int32)}


def metrics(sums):
    return {"loss": sums["loss"] / sums["count"], "accuracy": sums["right"] / sums["count"]}


def save(predictions, split):
    return {"labels": split["labels"], **predictions}


def describe(prediction, class_names, top):
    return {"text": class_names[prediction["predictions"]]}


TASK = Task("mine", ("labels",), images_only, loss, sums, decode, metrics, save, describe)


def adamw(learning_rate, weight_decay):
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(learning_rate, weight_decay=weight_decay))


def brighter(key, images, start=0):
    scale = jax.random.uniform(key, (), minval=0.5)
    return (images.astype(jnp.float32) * scale).astype(images.dtype)


ALL = {"task": TASK, "tx": adamw, "augment": brighter}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(CONFIG, out=tmp_path_factory.mktemp("parts") / "run", progress=False, **ALL)


def test_they_are_recorded_and_the_same_call_reads_the_run(finished):
    record = json.loads((finished.directory / "config.json").read_text())["own"]
    assert {name: record[name] for name in ("task", "tx", "augment")} == {
        "task": "mine", "tx": f"{__name__}:adamw", "augment": f"{__name__}:brighter",
    }  # fmt: skip
    assert set(record["computation"]) == {
        "traced_by", "inputs", "loss", "sums", "predictions", "metrics", "optimizer", "augment",
    }  # fmt: skip
    before = {path: path.read_bytes() for path in finished.directory.rglob("*") if path.is_file()}
    assert run(CONFIG, out=finished.directory, progress=False, **ALL).metrics == finished.metrics
    assert {path: path.read_bytes() for path in finished.directory.rglob("*") if path.is_file()} == before
    stored = load_result(finished.directory)
    assert stored.config == CONFIG
    assert "learning_rate" not in stored.history[0]  # only the user knows it
    assert set(stored.predictions) == {"labels", "predictions"}


@pytest.mark.parametrize("part", [*ALL])
def test_another_run_without_one_of_them_is_refused(finished, part):
    with pytest.raises(InputError, match=f"own.{part} is '.*', not None"):
        run(CONFIG, out=finished.directory, progress=False, **{**ALL, part: None})
    with pytest.raises(InputError, match="holds a run of another configuration"):
        run(CONFIG, out=finished.directory, progress=False)


@pytest.mark.parametrize(
    ("names", "edited"),
    [
        ({"loss"}, {"task": TASK._replace(loss=lambda *both: (2 * loss(*both)[0], loss(*both)[1]))}),
        ({"metrics"}, {"task": TASK._replace(metrics=lambda sums: {"loss": sums["loss"], "accuracy": 1.0})}),
        ({"sums"}, {"task": TASK._replace(sums=lambda *both: {**sums(*both), "count": jnp.float32(1)})}),
        ({"optimizer"}, {"tx": lambda rate, decay: optax.adamw(rate, b1=0.8, weight_decay=decay)}),
        ({"augment"}, {"augment": lambda key, images, start: brighter(key, images)[:, ::-1]}),
    ],
)
def test_a_part_that_was_edited_is_another_configuration(finished, names, edited):
    for part, function in edited.items():
        if part != "task":
            function.__module__, function.__qualname__ = __name__, ALL[part].__qualname__
    with pytest.raises(InputError, match=f"own.computation.{min(names)} is") as refused:
        run(CONFIG, out=finished.directory, progress=False, **{**ALL, **edited})
    assert str(refused.value).count("own.computation") == 1


def test_an_edit_of_what_a_part_calls_is_seen_in_the_same_process(finished, monkeypatch):
    monkeypatch.setattr(SMOOTHED, "by", 0.0)
    with pytest.raises(InputError, match=r"own\.computation\.loss is '\w+', not"):
        run(CONFIG, out=finished.directory, progress=False, **ALL)
    assert run(CONFIG, progress=False, **ALL).metrics != finished.metrics


def test_they_resume_to_the_bit(finished, tmp_path):
    class Stop(Exception):
        pass

    def stop(record):
        raise Stop

    with pytest.raises(Stop):
        run(CONFIG, out=tmp_path / "run", progress=False, on_epoch=stop, **ALL)
    assert timeless(run(CONFIG, out=tmp_path / "run", progress=False, **ALL).history) == timeless(finished.history)


@pytest.mark.slow
def test_an_own_task_equal_to_classification_trains_the_same_run(monkeypatch):
    monkeypatch.setattr(SMOOTHED, "by", 0.0)
    own, plain = (run(CONFIG, progress=False, **parts) for parts in ({"task": TASK}, {}))
    assert own.metrics == plain.metrics
    np.testing.assert_array_equal(own.predictions["predictions"], plain.predictions["predictions"])


def test_an_own_task_is_evaluated_and_shown_images(finished, tmp_path):
    from PIL import Image

    found = evaluate_run(finished.directory, task=TASK)
    assert found == pytest.approx({n: finished.metrics[f"test_{n}"] for n in ("loss", "accuracy")}, rel=1e-5)
    Image.fromarray(np.full((8, 8), 99, np.uint8)).save(tmp_path / "image.png")
    assert predict(finished.directory, [tmp_path / "image.png"], task=TASK)[0]["text"] in "0123456789"
    for use in (evaluate_run, lambda folder, **parts: predict(folder, [], **parts)):
        with pytest.raises(InputError, match=r"its task is your own, 'mine'; give it from Python: .* task="):
            use(finished.directory)
        with pytest.raises(InputError, match="its task was edited since"):
            use(finished.directory, task=TASK._replace(metrics=lambda sums: {"loss": 0.0}))
    module, variables = load_model(finished.directory)
    assert module.apply(variables, jnp.zeros((2, 8, 8, 1))).shape == (2, 10)


def test_an_own_task_says_what_a_network_must_return():
    task = TASK._replace(outputs=lambda examples, classes: {"a": jax.ShapeDtypeStruct((examples, 3), jnp.float32)})
    with pytest.raises(InputError, match=r"its outputs for 2 images are float32 .* mine with 10 classes needs"):
        run(CONFIG, task=task, progress=False)
    with pytest.raises(InputError, match="task='mine': its loss must return two scalars"):
        run(CONFIG, task=TASK._replace(loss=lambda logits, batch: (logits.mean(1), batch["mask"])), progress=False)
    with pytest.raises(InputError, match="task='mine': it needs boxes, and data set digits has one class"):
        run(CONFIG, task=TASK._replace(targets=("boxes",)), progress=False)


def test_a_chain_has_rates_of_its_own_and_a_function_gets_those_of_the_config():
    chain, function = optax.sgd(0.05, momentum=0.9), lambda rate, decay: optax.sgd(rate, momentum=0.9)
    one = run(replace(CONFIG, optimizer=OptimizerConfig(learning_rate=7.0)), tx=chain, progress=False)
    two = run(CONFIG, tx=function, progress=False)
    assert timeless(one.history) == timeless(two.history)
    faster = replace(CONFIG, optimizer=replace(CONFIG.optimizer, learning_rate=0.5))
    assert run(faster, tx=function, progress=False).metrics != two.metrics


@pytest.mark.slow
def test_a_chain_may_ask_for_the_loss():
    reduce = optax.contrib.reduce_on_plateau(factor=0.5, patience=1, accumulation_size=1)
    states = []
    run(
        CONFIG, tx=optax.chain(optax.sgd(0.05), reduce), progress=False, on_step=lambda _, state: states.append(state())
    )
    assert states[-1].opt_state[1].best_value < np.inf


@pytest.mark.slow
def test_runs_with_an_own_optimizer_are_extended(tmp_path):
    long = run(replace(CONFIG, epochs=3), tx=adamw, out=tmp_path / "long", progress=False)
    run(CONFIG, tx=adamw, out=tmp_path / "run", progress=False)
    extended = run(replace(CONFIG, epochs=3), tx=adamw, out=tmp_path / "run", extend=True, progress=False)
    assert timeless(extended.history) == timeless(long.history)
    assert extended.extended == (2,)


def test_initial_variables_are_those_given_and_the_others_are_drawn(tmp_path):
    run(CONFIG, out=tmp_path / "first", progress=False)
    _, variables = load_model(tmp_path / "first")
    path = next(iter(variables["params"]))
    still = optax.set_to_zero()
    starts = {}
    for name, given in (("all", variables), ("some", {"params": {path: variables["params"][path]}}), ("none", None)):
        kept = starts[name] = []
        run(CONFIG, tx=still, variables=given, progress=False, on_step=lambda _, state, kept=kept: kept.append(state()))
    assert isinstance(starts["all"][0], TrainState)
    jax.tree.map(np.testing.assert_array_equal, starts["all"][-1].params, jax.device_get(variables["params"]))
    some, none = starts["some"][-1].params, starts["none"][-1].params
    jax.tree.map(np.testing.assert_array_equal, some[path], jax.device_get(variables["params"][path]))
    others = [name for name in none if name != path]
    jax.tree.map(np.testing.assert_array_equal, [some[n] for n in others], [none[n] for n in others])


def test_other_initial_variables_are_another_run_and_wrong_ones_are_refused(tmp_path):
    run(CONFIG, out=tmp_path / "first", progress=False)
    _, variables = load_model(tmp_path / "first")
    tuned = run(CONFIG, variables=variables, out=tmp_path / "tuned", progress=False)
    assert run(CONFIG, variables=variables, out=tmp_path / "tuned", progress=False).metrics == tuned.metrics
    assert evaluate_run(tmp_path / "tuned")["loss"] == pytest.approx(tuned.metrics["test_loss"], rel=1e-5)
    doubled = jax.tree.map(lambda leaf: 2 * leaf, variables)
    for given, difference in ((None, "own.variables is '.*', not None"), (doubled, "own.variables is '.*', not '.*'")):
        with pytest.raises(InputError, match=difference):
            run(CONFIG, variables=given, out=tmp_path / "tuned", progress=False)
    with pytest.raises(InputError, match=r"variables=.*: the network has no such variable, it has params/"):
        run(CONFIG, variables=variables["params"], progress=False)
    wide = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), variables)
    with pytest.raises(InputError, match=r"variables=params/.*: its shape is \(2, .* where the network's is"):
        run(CONFIG, variables=wide, out=tmp_path / "new", progress=False)
    assert not (tmp_path / "new").exists()


def test_a_callback_sees_every_step_and_changes_nothing():
    seen = []
    watched = run(CONFIG, progress=False, on_step=lambda record, state: seen.append((record, int(state().step))))
    assert timeless(watched.history) == timeless(run(CONFIG, progress=False).history)
    assert [(record["step"], record["epoch"], step) for record, step in seen] == [
        (1, 1, 1),
        (2, 1, 2),
        (3, 2, 3),
        (4, 2, 4),
    ]
    assert set(seen[0][0]) == {"step", "epoch", "train_loss", "train_accuracy"}
    assert np.mean([record["train_loss"] for record, _ in seen[:2]]) == pytest.approx(watched.history[0]["train_loss"])


def test_a_callback_sees_single_steps_where_they_would_be_scanned():
    seen = []
    run(replace(CONFIG, scan=True), progress=False, on_step=lambda record, state: seen.append(record["step"]))
    assert seen == [1, 2, 3, 4]


@pytest.mark.slow
def test_several_runs_with_own_parts(finished, tmp_path):
    configs = [replace(CONFIG, optimizer=replace(CONFIG.optimizer, learning_rate=rate)) for rate in (0.05, 0.2)]
    members = run_members(configs, together=2, progress=False, **ALL)
    assert members[0].metrics == pytest.approx(finished.metrics, rel=1e-3)
    assert members[1].metrics != pytest.approx(finished.metrics, rel=1e-3)
    (one,) = run_seeds(CONFIG, (0,), out=tmp_path, progress=False, **ALL)
    assert one.metrics == finished.metrics


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"task": "mine"}, "task=str: give a jaxcnn.tasks.Task; its config goes into"),
        ({"tx": 0.1}, "tx=float: give an optax chain, or a function"),
        ({"augment": "flip"}, "augment=str: give a function .* names go into DataConfig"),
        ({"variables": 3}, "variables=int: give a mapping"),
        ({"augment": lambda key, images, start: images / 255}, "augment=.*: it makes float32 .* of uint8"),
    ],
)
def test_what_is_no_part_is_refused_before_anything_is_written(tmp_path, parts, message):
    with pytest.raises(InputError, match=message):
        run(CONFIG, out=tmp_path / "run", progress=False, **parts)
    assert not (tmp_path / "run").exists()


def test_an_own_augmentation_comes_after_those_of_the_config():
    """The same function under a name of its own gives the same run, on the same keys."""
    AUGMENTATIONS["brighter"] = brighter
    try:
        named = run(replace(CONFIG, data=replace(CONFIG.data, augment=("crop", "brighter"))), progress=False)
    finally:
        del AUGMENTATIONS["brighter"]
    own = run(replace(CONFIG, data=replace(CONFIG.data, augment=("crop",))), augment=brighter, progress=False)
    assert timeless(own.history) == timeless(named.history)


class Siamese(linen.Module):
    """Two inputs; the second is optional in training."""

    @linen.compact
    def __call__(self, first, second=None):
        dense = linen.Dense(3)
        return dense(first) if second is None else dense(first) + dense(second)


def test_modules_with_several_inputs_count():
    from jaxcnn import count

    one, two = count(Siamese(), (8,)), count(Siamese(), (8,), (8,))
    assert (one.params, one.macs) == (27, 24)
    assert (two.params, two.macs) == (27, 48)
    assert two.output_shape == (3,)
    with pytest.raises(InputError, match=r"input_shape=\(0,\)"):
        count(Siamese(), (8,), (0,))
