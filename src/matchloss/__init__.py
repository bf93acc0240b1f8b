"""matchloss matches predictions to targets and computes the loss."""

from importlib import import_module as _import_module
from types import ModuleType as _ModuleType
from typing import TYPE_CHECKING

from ._core import reference as reference
from .types import Assignment as Assignment, Detections as Detections, LossTerms as LossTerms
from .types import DBMaps as DBMaps, EASTMaps as EASTMaps, TextDetections as TextDetections
from .types import Matching as Matching, MatchingCost as MatchingCost, QuerySet as QuerySet, Targets as Targets

if TYPE_CHECKING:
    from . import assigners as assigners, criteria as criteria, encoders as encoders, evaluation as evaluation
    from . import geometry as geometry, losses as losses, postprocess as postprocess

__version__ = "0.1.0"

SUBPACKAGES = ("assigners", "criteria", "encoders", "evaluation", "geometry", "losses", "postprocess")


def __getattr__(name: str) -> _ModuleType:
    """Load a subpackage when it is first asked for; all together take a fifth of a second."""
    if name in SUBPACKAGES:
        return _import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
