"""One run: config in, result out."""

from jaxcnn.run.draw import draw_prediction
from jaxcnn.run.export import export_run
from jaxcnn.run.folder import RunResult, load_result
from jaxcnn.run.members import run_members
from jaxcnn.run.predict import evaluate_run, load_model, measure_run, predict
from jaxcnn.run.runner import run
from jaxcnn.run.several import run_all, run_seeds

__all__ = [
    "RunResult", "draw_prediction", "evaluate_run", "export_run", "load_model", "load_result", "measure_run", "predict",
    "run", "run_all", "run_members", "run_seeds",
]  # fmt: skip
