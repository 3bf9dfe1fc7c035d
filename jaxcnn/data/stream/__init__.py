"""Streaming of data sets larger than memory and disk: images are decoded when indexed, and prefetched in training."""

from jaxcnn.data.stream.images import StreamedImages, is_streamed, open_split
from jaxcnn.data.stream.prefetch import read_ahead, resident_bytes_bound

__all__ = ["StreamedImages", "is_streamed", "open_split", "read_ahead", "resident_bytes_bound"]
