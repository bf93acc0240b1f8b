"""Complete training criteria: assigner + losses + one visible normaliser -> LossTerms."""

# Segmentation
from .segmentation import SegmentationCriterion as SegmentationCriterion

# Detection
from .task_aligned import TaskAlignedCriterion as TaskAlignedCriterion
from .retinanet import RetinaNetCriterion as RetinaNetCriterion

# Set prediction
from .set_prediction import SetCriterion as SetCriterion
