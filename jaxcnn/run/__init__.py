"""One run: config in, result out."""

from jaxcnn.run.many import run_all
from jaxcnn.run.members import run_members
from jaxcnn.run.predict import Prediction, evaluate_run, predict
from jaxcnn.run.result import RunResult, load_result
from jaxcnn.run.runner import run
from jaxcnn.run.seeds import run_seeds

__all__ = [
    "Prediction",
    "RunResult",
    "evaluate_run",
    "load_result",
    "predict",
    "run",
    "run_all",
    "run_members",
    "run_seeds",
]
