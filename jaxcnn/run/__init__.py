"""One run: config in, result out."""

from jaxcnn.run.inference import Prediction, evaluate_run, predict
from jaxcnn.run.many import run_all
from jaxcnn.run.runner import RunResult, load_result, run
from jaxcnn.run.seeds import run_seeds

__all__ = ["Prediction", "RunResult", "evaluate_run", "load_result", "predict", "run", "run_all", "run_seeds"]
