"""The options of task-aligned assignment, in which its published variants differ."""

from dataclasses import dataclass
from typing import Literal

from .._core import check_option, check_positive

Overlap = Literal["iou", "ciou", "probiou"]
Among = Literal["inside", "all"]
Conflict = Literal["selected", "inside", "all"]


@dataclass(frozen=True, kw_only=True)
class TaskAlignedRules:
    """One field an option; :class:`TaskAlignedAssigner` explains them."""

    topk: int = 13
    alpha: float = 1.0
    beta: float = 6.0
    overlap: Overlap = "iou"
    topk_among: Among = "inside"
    conflict: Conflict = "inside"
    margin: float = 0.0
    zero_metric: bool = True
    second_topk: int | None = None
    min_side: float | None = None
    min_overlap: float = 0.0
    min_points: int | None = None
    reach: float | None = None
    eps: float = 1e-9

    def __post_init__(self) -> None:
        """Check the options."""
        name = type(self).__name__
        check_option(name, "overlap", self.overlap, ("iou", "ciou", "probiou"))
        check_option(name, "topk_among", self.topk_among, ("inside", "all"))
        check_option(name, "conflict", self.conflict, ("selected", "inside", "all"))
        for option in ("alpha", "beta", "margin", "min_overlap"):
            check_positive(name, option, getattr(self, option), or_zero=True)
        check_positive(name, "eps", self.eps)
        for option in ("min_side", "reach"):
            if getattr(self, option) is not None:
                check_positive(name, option, getattr(self, option))
        for option in ("topk", "second_topk", "min_points"):
            value = getattr(self, option)
            if value is None and option != "topk":
                continue
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: expected {option} to be a whole number >= 1, got {value!r}")
