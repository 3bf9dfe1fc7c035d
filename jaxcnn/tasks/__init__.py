"""Tasks: loss, sums and decoding as pure functions; no architectures here."""

from jaxcnn.tasks.classification import classification, cross_entropy
from jaxcnn.tasks.task import Batch, Sums, Task

__all__ = ["Batch", "Sums", "Task", "classification", "cross_entropy"]
