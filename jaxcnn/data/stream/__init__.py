"""Data sets larger than memory and disk: images decoded when a step asks for them, and read ahead of it."""

from jaxcnn.data.stream.ahead import read_ahead, resident_bytes_bound
from jaxcnn.data.stream.images import StreamedImages, is_streamed, only
from jaxcnn.data.stream.loading import SAMPLE, open_pool, sampled_statistics

__all__ = [
    "SAMPLE",
    "StreamedImages",
    "is_streamed",
    "only",
    "open_pool",
    "read_ahead",
    "resident_bytes_bound",
    "sampled_statistics",
]
