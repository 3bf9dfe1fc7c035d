"""Training: one pure step, one loop, and the wrappers that spread it over devices."""

from jaxcnn.train.checkpoint import Checkpoints
from jaxcnn.train.interrupt import Interrupted
from jaxcnn.train.loop import Plan, evaluate, fit
from jaxcnn.train.optimizer import make_optimizer
from jaxcnn.train.parallel import Programs, data_parallel, make_programs, single_device
from jaxcnn.train.state import TrainState, make_init
from jaxcnn.train.step import make_eval_step, make_train_step

__all__ = [
    "Checkpoints",
    "Interrupted",
    "Plan",
    "Programs",
    "TrainState",
    "data_parallel",
    "evaluate",
    "fit",
    "make_eval_step",
    "make_init",
    "make_optimizer",
    "make_programs",
    "make_train_step",
    "single_device",
]
