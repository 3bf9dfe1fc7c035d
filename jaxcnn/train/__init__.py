"""Training: one pure step, one loop, and the wrappers that spread it over devices."""

from jaxcnn.runtime.signals import Interrupted
from jaxcnn.train.checkpoint import Checkpoints
from jaxcnn.train.evaluation import evaluate
from jaxcnn.train.loop import Run, fit
from jaxcnn.train.optimizer import make_optimizer
from jaxcnn.train.parallel import Programs, data_parallel, make_programs, member_programs, sharded, single_device
from jaxcnn.train.state import TrainState, make_init
from jaxcnn.train.step import make_eval_step, make_train_step

__all__ = [
    "Checkpoints",
    "Interrupted",
    "Programs",
    "Run",
    "TrainState",
    "data_parallel",
    "evaluate",
    "fit",
    "make_eval_step",
    "make_init",
    "make_optimizer",
    "make_programs",
    "make_train_step",
    "member_programs",
    "sharded",
    "single_device",
]
