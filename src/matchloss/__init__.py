"""matchloss matches predictions to targets and computes the loss."""

from . import criteria as criteria, losses as losses
from ._core import reference as reference
from .types import Assignment as Assignment, LossTerms as LossTerms, Targets as Targets

__version__ = "0.1.0"
