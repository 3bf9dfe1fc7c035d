"""Which runs share compiled programs: those that differ in nothing that a program depends on."""

from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest

from jaxcnn.data import load
from jaxcnn.run.assemble import assemble
from jaxcnn.runtime import onednn
from jaxcnn.spec import Classification, DataConfig, ModelSpec, OptimizerConfig, RunConfig

BASE = RunConfig(model=ModelSpec("dense", 3, 4), data=DataConfig(train_size=64), batch_size=16)
DATA = load(BASE.data, progress=False)
SCANS = onednn.bridge() is None
"""What BASE does not do: a CPU scans over a small split where all convolutions are oneDNN's."""
COMPILED = {
    "model.family": "plain", "model.depth": 2, "model.width": 5, "model.stage_sizes": (2,),
    "model.stage_widths": (5, 4), "model.options": {"norm": True},
    "data.augment": ("flip",), "data.mix": ("mixup",),
    "optimizer.name": "adam", "optimizer.momentum": 0.5, "optimizer.nesterov": False, "optimizer.decay": "decoupled",
    "optimizer.schedule": "linear", "optimizer.milestones": (0.1,), "optimizer.factor": 0.5,
    "optimizer.warmup_epochs": 2.0, "optimizer.clip_norm": 1.0, "optimizer.bias_scale": 2.0,
    "optimizer.rest_scale": 2.0, "optimizer.frozen": ("bias",),
    "task.label_smoothing": 0.1, "task.class_weights": (1.0,) * 9 + (2.0,), "task.test_flips": True,
    "epochs": 3, "batch_size": 8,  # by the length of the schedule
    "ema": 0.9, "accumulate": 2, "on_nonfinite": "skip", "parallel": "sharded", "sync_batch_norm": False, "scan": SCANS,
    "compute_dtype": "bfloat16", "deterministic": True,
    **({"checkpoint_steps": 1} if SCANS is False else {}),  # a CPU makes single steps where they are saved
}  # fmt: skip
"""Fields that compiled programs depend on, and another value of each."""
IGNORED = {
    "model.num_classes": 10,  # that of the data
    "data.name": "glyphs", "data.data_dir": "elsewhere", "data.validation": 0.2, "data.train_size": 63, "data.size": 9,
    "data.fit": "pad", "data.on_bad": "skip", "data.stream": True, "data.workers": 1, "data.classes": 5,
    "data.images": 100, "data.data_seed": 1, "data.split_seed": 1, "data.train_seed": 1, "data.fold": (0, 5, 0),
    "data.groups": "writers", "data.ignore": (0,), "data.normalize": "imagenet",  # but shape, mean, deviation
    "optimizer.learning_rate": 0.01, "optimizer.weight_decay": 0.0,  # arrays in the optimizer's state
    "patience": 2, "seed": 1, "checkpoint_every": 2, "checkpoint_minutes": 1.0, "keep": 1,
    "evaluate_test": False, "batches": "full",  # masks, not shapes
    **({"checkpoint_steps": 1} if SCANS else {}),
}  # fmt: skip
"""Fields that they do not depend on."""


def names(config, prefix=""):
    """All fields by their path, those of nested dataclasses too."""
    for each in fields(config):
        value = getattr(config, each.name)
        yield from names(value, f"{prefix}{each.name}.") if is_dataclass(value) else [prefix + each.name]


def changed(name, value):
    group, _, field = name.rpartition(".")
    if not group:
        return replace(BASE, **{field: value})
    return replace(BASE, **{group: replace(getattr(BASE, group), **{field: value})})


def programs(config, data=DATA):
    return assemble(config, data).programs


def test_every_field_either_matters_or_is_named_as_ignored():
    """A new field stands in one of the tables above, or this test fails."""
    # Another head has another task: its programs are compared with no other's. Weights need a family that has some.
    others = ["model.head", "weights", "finetune.unfreeze_from", "finetune.trunk_scale"]
    assert sorted([*COMPILED, *IGNORED, *others]) == sorted(names(BASE))


@pytest.mark.parametrize("name", COMPILED)
def test_runs_that_differ_in_what_matters_share_no_programs(name):
    assert programs(changed(name, COMPILED[name])) is not programs(BASE)


@pytest.mark.parametrize("name", IGNORED)
def test_runs_that_differ_in_what_is_ignored_share_programs(name):
    assert programs(changed(name, IGNORED[name])) is programs(BASE)


def test_programs_depend_on_shape_and_statistics_of_the_data():
    shifted = DATA._replace(mean=DATA.mean + np.float32(0.1))
    assert programs(BASE, shifted) is not programs(BASE)
    wider = DATA._replace(image_shape=(8, 9, 1))
    assert programs(BASE, wider) is not programs(BASE)
    other_images = DATA._replace(train={**DATA.train, "images": DATA.train["images"][::-1]})
    assert programs(BASE, other_images) is programs(BASE)


def test_balanced_weights_are_those_of_the_training_split():
    balanced = replace(BASE, task=Classification(class_weights="balanced"))
    counts = np.bincount(DATA.train["labels"], minlength=10)
    weights = tuple(64 / (10 * count) for count in counts.tolist())
    assert programs(balanced) is programs(replace(BASE, task=Classification(class_weights=weights)))
    fewer = DATA._replace(train={name: values[:60] for name, values in DATA.train.items()})
    assert programs(balanced, fewer) is not programs(balanced)


def test_a_list_among_a_modules_fields_is_no_error():
    optimizer = OptimizerConfig(frozen=["bias"])  # type: ignore[arg-type]
    assert programs(replace(BASE, optimizer=optimizer)).mode == "jit"
