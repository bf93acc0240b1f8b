"""Complete training criteria: assigner + losses + one visible normaliser -> LossTerms."""

# Segmentation
from .segmentation import SegmentationCriterion as SegmentationCriterion
