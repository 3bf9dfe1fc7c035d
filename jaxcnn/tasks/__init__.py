"""Tasks: targets, loss, sums, metrics and predictions as pure functions; no architectures here."""

from jaxcnn.tasks.classification import classification, cross_entropy
from jaxcnn.tasks.detection import detection
from jaxcnn.tasks.embedding import embedding
from jaxcnn.tasks.instances import instances
from jaxcnn.tasks.localization import localization
from jaxcnn.tasks.reading import read_greedily, reading
from jaxcnn.tasks.segmentation import segmentation
from jaxcnn.tasks.task import Batch, Sums, Task, images_only, make_task, register_task, resolve_task

__all__ = [
    "Batch",
    "Sums",
    "Task",
    "classification",
    "cross_entropy",
    "detection",
    "embedding",
    "images_only",
    "instances",
    "localization",
    "make_task",
    "read_greedily",
    "reading",
    "register_task",
    "resolve_task",
    "segmentation",
]
