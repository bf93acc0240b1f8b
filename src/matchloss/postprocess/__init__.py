"""Decoding of predictions, and non-maximum suppression."""

from .db import decode_db as decode_db
from .east import decode_east as decode_east
from .locality_aware_nms import locality_aware_nms as locality_aware_nms
from .nms import Kept as Kept, non_maximum_suppression as non_maximum_suppression
from .quads import rescale_quads as rescale_quads
from .retinanet import decode_retinanet as decode_retinanet
from .select import select_detections as select_detections
from .set_prediction import decode_set_prediction as decode_set_prediction
from .task_aligned import decode_task_aligned as decode_task_aligned
from .soft_nms import soft_nms as soft_nms
