"""Flags: options of families and tasks, in commands and scripts; the same config as from Python."""

import sys
from dataclasses import dataclass, field, fields
from pathlib import Path

import pytest

from jaxcnn.cli import launch, main
from jaxcnn.cli.flags import parse, starting_point
from jaxcnn.cli.study import StudyFlags
from jaxcnn.cli.train import TrainFlags
from jaxcnn.errors import InputError
from jaxcnn.models import FAMILIES, build
from jaxcnn.records import as_record
from jaxcnn.spec import Classification, ModelSpec, RunConfig, StudyConfig, Tuning

TINY_FAMILY = '''
from dataclasses import dataclass

from jaxcnn.models import FAMILIES, register_family
from jaxcnn.models.plain import PlainNet


@dataclass(frozen=True)
class TinyOptions:
    """Options of the family tiny.

    Args:
        norm: Batch norm after each convolution.
        dropout: Share of units dropped.
    """

    norm: bool = True
    dropout: float = 0.0


def backbone(spec, options):
    return PlainNet(spec.stage_sizes, spec.stage_widths, norm=options.norm)


register_family("tiny", FAMILIES["plain"]._replace(backbone=backbone, options=TinyOptions))
'''


def train_config(*words):
    start, rest = starting_point(words)
    return parse(TrainFlags(start), rest, "jaxcnn train").config


@pytest.mark.parametrize(
    ("words", "spec"),
    [
        ("--model.options.skip False", ModelSpec(options={"skip": False})),
        ("--model.skip False", ModelSpec(options={"skip": False})),
        ("--model.skip=False --model.stochastic_depth=0.0", ModelSpec(options={"skip": False})),
        ("--model.skip True --model.shortcut A", ModelSpec()),
        ("--model lenet5 --model.padding same", ModelSpec("lenet", 5, 6, options={"padding": "same"})),
        (
            "--model.family lenet --model.units 30 20 --model.dense 3 --model.norm True",
            ModelSpec("lenet", options={"units": (30, 20), "dense": 3, "norm": True}),
        ),
        (
            "--model lenet_caffe --model.units None --model.dense None",
            ModelSpec("lenet", 4, 20, stage_widths=(20, 50), options={"padding": "valid"}),
        ),
        (
            "--model resnet50 --model.block basic --model.stem cifar",
            ModelSpec("resnet_imagenet", 50, 64, options={"block": "basic", "stem": "cifar"}),
        ),
        ("--model resnet50 --model.block None", ModelSpec("resnet_imagenet", 50, 64)),
        ("--model plain20 --model.family wrn --model.dropout 0.5", ModelSpec("wrn", 20, options={"dropout": 0.5})),
        ("--model.family=airbench --model.stage-sizes 2 2", ModelSpec("airbench", stage_sizes=(2, 2))),
        ("--model.family resnet --model.family wrn", ModelSpec("wrn")),
    ],
)  # fmt: skip
def test_options_of_a_family_are_flags(words, spec):
    """The result is equal to the one made in Python: options that have the family's defaults are left out."""
    parsed = train_config(*words.split())
    assert parsed == RunConfig(model=spec)
    assert type(parsed.model) is ModelSpec
    assert as_record(parsed) == as_record(RunConfig(model=spec))


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("--model.family lenet --model.skip False", "--model.skip"),
        ("--model.skip maybe", "--model.skip"),
        ("--model.options.shortcut C", "--model.shortcut C: choose one of A, B"),
        ("--model.family", "--model.family"),
        ("--model.units 3", "--model.units"),
    ],
)
def test_wrong_options_are_named(words, part):
    with pytest.raises(InputError) as refused:
        train_config(*words.split())
    assert part in str(refused.value)


@pytest.mark.parametrize(
    ("words", "task"),
    [
        ("--task.label-smoothing 0.1 --task.test-flips", Classification(label_smoothing=0.1, test_flips=True)),
        ("--task.class-weights balanced", Classification(class_weights="balanced")),
        ("--task.class-weights 1 2.5", Classification(class_weights=(1.0, 2.5))),
    ],
)
def test_options_of_the_task_are_flags(words, task):
    assert train_config(*words.split()) == RunConfig(task=task)


def test_help_shows_the_options_of_the_chosen_family(capsys):
    with pytest.raises(SystemExit):
        train_config("--model", "wrn_16_8", "--help-all")
    page = " ".join(capsys.readouterr().out.split())
    for part in (
        "--model.skip {True,False}", "--model.dropout FLOAT", "--model.stage-sizes", "--epochs INT",
        "--task.label-smoothing FLOAT",
    ):  # fmt: skip
        assert part in page
    assert "--model.shortcut" not in page


def test_a_study_has_its_own_flags_and_those_of_its_runs():
    words = (
        "--depths 3 5 --params 2000 4000 --tuning.learning-rates 0.1 --seeds.cap 9 --workers 2 --place ray "
        "--ray-address auto --margin 0.05 --epochs 3 --optimizer.momentum 0.5 --data.size 8 --dry-run "
        "--model.family plain --model.norm False --seconds 0.5"
    )
    flags = parse(StudyFlags(), words.split(), "jaxcnn study")
    assert (flags.depths, flags.params, flags.seconds, flags.place) == ((3, 5), (2000, 4000), (0.5,), "ray")
    assert flags.tuning == Tuning(learning_rates=(0.1,))
    assert (flags.seeds.cap, flags.workers, flags.ray_address, flags.margin) == (9, 2, "auto", 0.05)
    assert (flags.base.epochs, flags.base.optimizer.momentum, flags.base.data.size) == (3, 0.5, 8)
    assert flags.base.model == ModelSpec("plain", options={"norm": False})
    assert flags.dry_run
    own = {"model", "data", "dry_run", "fit_into", "out"}
    assert {each.name for each in fields(StudyFlags)} == {each.name for each in fields(StudyConfig)} | own


def test_a_user_defined_family_brings_its_options(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_family.py").write_text(TINY_FAMILY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        parsed = train_config("--model.family", "my_family:tiny", "--model.norm", "False")
        assert parsed.model == ModelSpec("my_family:tiny", options={"norm": False})
        build(parsed.model, 10)
        main(["models", "my_family:tiny"])
        assert "Batch norm after each convolution." in capsys.readouterr().out
    finally:
        FAMILIES.pop("tiny", None)
        sys.modules.pop("my_family", None)


@dataclass(frozen=True)
class Pair:
    deep: RunConfig = field(default_factory=lambda: RunConfig(ModelSpec("resnet", 20, options={"skip": False})))
    too_wide: ModelSpec = field(default_factory=lambda: ModelSpec("lenet", 5))
    family: str = "none"
    out: Path = Path("runs")


def test_scripts_have_the_same_flags(monkeypatch):
    calls = []
    smoke = Pair(too_wide=ModelSpec("plain", 3))

    def start(*words):
        monkeypatch.setattr(sys, "argv", ["script.py", *words])
        launch(calls.append, Pair, smoke)
        return calls.pop()

    assert start() == Pair()
    assert start("--smoke") == smoke
    pair = start("--deep.model.shortcut", "B", "--too-wide.norm", "True", "--family", "wrn")
    assert pair.deep.model == ModelSpec("resnet", 20, options={"skip": False, "shortcut": "B"})
    assert pair.too_wide == ModelSpec("lenet", 5, options={"norm": True})
    pair = start("--too_wide.family", "resnet", "--too_wide.options.skip", "False", "--deep.epochs", "3")
    assert pair.too_wide == ModelSpec("resnet", 5, options={"skip": False})
    assert pair.deep.epochs == 3


def test_options_that_the_family_of_a_default_does_not_have_are_refused():
    with pytest.raises(InputError, match="skip=False: the family lenet has no such option"):
        parse(RunConfig(ModelSpec("lenet", options={"skip": False})), [])
