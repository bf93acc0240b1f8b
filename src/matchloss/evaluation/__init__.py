"""Evaluation protocols that no library has."""

from .icdar import ICDARScores as ICDARScores, ImageCounts as ImageCounts, evaluate_icdar as evaluate_icdar
