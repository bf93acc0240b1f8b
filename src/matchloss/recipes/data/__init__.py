"""Readers of training data: one file a format, one error for whatever is wrong with it."""

from matchloss.recipes.data.errors import DataError
from matchloss.recipes.data.masks import IGNORE_INDEX, Sample, SegmentationFolder

__all__ = ["IGNORE_INDEX", "DataError", "Sample", "SegmentationFolder"]
