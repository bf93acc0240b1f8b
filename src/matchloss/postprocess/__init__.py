"""Decoding of predictions, and non-maximum suppression."""

from .nms import Kept as Kept, non_maximum_suppression as non_maximum_suppression
from .retinanet import decode_retinanet as decode_retinanet
from .select import select_detections as select_detections
from .set_prediction import decode_set_prediction as decode_set_prediction
from .task_aligned import decode_task_aligned as decode_task_aligned
from .soft_nms import soft_nms as soft_nms
