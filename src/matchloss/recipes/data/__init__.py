"""Readers of training data: one file a format, one error for whatever is wrong with it."""

from matchloss.recipes.data.annotations import Truth
from matchloss.recipes.data.boxes import BoxFolder, BoxSample
from matchloss.recipes.data.errors import DataError
from matchloss.recipes.data.masks import IGNORE_INDEX, Sample, SegmentationFolder
from matchloss.recipes.data.word_annotations import WordTruth
from matchloss.recipes.data.words import WordFolder, WordSample

__all__ = [
    "IGNORE_INDEX",
    "BoxFolder",
    "BoxSample",
    "DataError",
    "Sample",
    "SegmentationFolder",
    "Truth",
    "WordFolder",
    "WordSample",
    "WordTruth",
]
