"""Matching: (predictions, Targets) -> Assignment, one file an assigner."""

# Of predictions
from .task_aligned import TaskAlignedAssigner as TaskAlignedAssigner
from .simota import SimOTAAssigner as SimOTAAssigner

# Of anchors
from .max_iou import MaxIoUAssigner as MaxIoUAssigner
from .atss import ATSSAssigner as ATSSAssigner

# Of queries
from .hungarian import HungarianAssigner as HungarianAssigner
