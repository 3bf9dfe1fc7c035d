"""Pure functions on NHWC arrays and HWIO kernels. They need jax alone."""

from jaxcnn.ops.anchors import BACKGROUND, IGNORED, anchor_shapes, grid_anchors, match_anchors
from jaxcnn.ops.boxes import (
    box_area,
    box_centres,
    box_corners,
    box_giou,
    box_iou,
    clip_boxes,
    decode_boxes,
    encode_boxes,
    pairwise_iou,
)
from jaxcnn.ops.conv import conv2d
from jaxcnn.ops.drop import dropout, stochastic_depth
from jaxcnn.ops.edit_distance import edit_distance
from jaxcnn.ops.nms import Detections, nms, select_detections
from jaxcnn.ops.norm import batch_norm_inference, batch_norm_train, example_count
from jaxcnn.ops.pool import adaptive_avg_pool, avg_pool, global_avg_pool, global_max_pool, max_pool
from jaxcnn.ops.resize import resize_bilinear
from jaxcnn.ops.roi_align import multilevel_roi_align, roi_align
from jaxcnn.ops.sampling import Sample, hard_negatives, sample_proposals
from jaxcnn.ops.whiten import whitening_kernel
from jaxcnn.ops.window import Padding, Size, output_size

__all__ = [
    "BACKGROUND",
    "IGNORED",
    "Detections",
    "Padding",
    "Sample",
    "Size",
    "adaptive_avg_pool",
    "anchor_shapes",
    "avg_pool",
    "batch_norm_inference",
    "batch_norm_train",
    "box_area",
    "box_centres",
    "box_corners",
    "box_giou",
    "box_iou",
    "clip_boxes",
    "conv2d",
    "decode_boxes",
    "dropout",
    "edit_distance",
    "encode_boxes",
    "example_count",
    "global_avg_pool",
    "global_max_pool",
    "grid_anchors",
    "hard_negatives",
    "match_anchors",
    "max_pool",
    "multilevel_roi_align",
    "nms",
    "output_size",
    "pairwise_iou",
    "resize_bilinear",
    "roi_align",
    "sample_proposals",
    "select_detections",
    "stochastic_depth",
    "whitening_kernel",
]
