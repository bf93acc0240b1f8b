"""matchloss matches predictions to targets and computes the loss."""

from . import assigners as assigners, criteria as criteria, geometry as geometry, losses as losses
from . import encoders as encoders, evaluation as evaluation, postprocess as postprocess
from ._core import reference as reference
from .types import Assignment as Assignment, Detections as Detections, LossTerms as LossTerms
from .types import DBMaps as DBMaps, EASTMaps as EASTMaps, TextDetections as TextDetections
from .types import Matching as Matching, MatchingCost as MatchingCost, QuerySet as QuerySet, Targets as Targets

__version__ = "0.1.0"
