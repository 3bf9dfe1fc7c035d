"""jaxcnn: at one budget, should a CNN be deeper or wider?

The public names and the packages below load when first used: `import jaxcnn` starts no backend. One is missing here,
because it has the name of its package: `from jaxcnn.run import run`.

>>> import jaxcnn
>>> jaxcnn.named("resnet20").depth
20
>>> jaxcnn.nn.Conv(16).kernel
3
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxcnn import analysis, data, models, nn, ops, run, spec, study, tasks, train  # noqa: F401
    from jaxcnn.analysis.complexity import count
    from jaxcnn.data import Dataset, batches, load
    from jaxcnn.errors import InputError
    from jaxcnn.models import build, named
    from jaxcnn.run import RunResult, evaluate_run, load_model, load_result, predict, run_seeds
    from jaxcnn.spec import (
        Classification,
        DataConfig,
        ModelSpec,
        OptimizerConfig,
        RunConfig,
        Seeds,
        StudyConfig,
        Tuning,
    )
    from jaxcnn.study import match_width, run_study, write_report
    from jaxcnn.tasks import Task, classification
    from jaxcnn.train import TrainState, make_eval_step, make_init, make_optimizer, make_train_step

_PACKAGES = ("analysis", "data", "models", "nn", "ops", "run", "spec", "study", "tasks", "train")
_HOMES = {
    "analysis.complexity": ("count",),
    "data": ("Dataset", "batches", "load"),
    "errors": ("InputError",),
    "models": ("build", "named"),
    "run": ("RunResult", "evaluate_run", "load_model", "load_result", "predict", "run_seeds"),
    "spec": (
        "Classification", "DataConfig", "ModelSpec", "OptimizerConfig", "RunConfig", "Seeds", "StudyConfig", "Tuning",
    ),
    "study": ("match_width", "run_study", "write_report"),
    "tasks": ("Task", "classification"),
    "train": ("TrainState", "make_eval_step", "make_init", "make_optimizer", "make_train_step"),
}  # fmt: skip
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Classification",
    "DataConfig",
    "Dataset",
    "InputError",
    "ModelSpec",
    "OptimizerConfig",
    "RunConfig",
    "RunResult",
    "Seeds",
    "StudyConfig",
    "Task",
    "TrainState",
    "Tuning",
    "batches",
    "build",
    "classification",
    "count",
    "evaluate_run",
    "load",
    "load_model",
    "load_result",
    "make_eval_step",
    "make_init",
    "make_optimizer",
    "make_train_step",
    "match_width",
    "named",
    "predict",
    "run_seeds",
    "run_study",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"jaxcnn.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'jaxcnn' has no attribute {name!r}")
    return getattr(import_module(f"jaxcnn.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*__all__, *_PACKAGES})
