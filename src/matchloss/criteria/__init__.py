"""Complete training criteria: assigner + losses + one visible normaliser -> LossTerms."""

# Segmentation
from .segmentation import SegmentationCriterion as SegmentationCriterion

# Detection
from .task_aligned import TaskAlignedCriterion as TaskAlignedCriterion
from .retinanet import RetinaNetCriterion as RetinaNetCriterion

# Scene text
from .east import EASTCriterion as EASTCriterion
from .db import DBCriterion as DBCriterion

# Set prediction
from .set_prediction import SetCriterion as SetCriterion
