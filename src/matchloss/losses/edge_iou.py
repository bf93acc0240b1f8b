"""IoU of boxes given by the distances of a point to their sides: :func:`edge_iou_loss`."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from .._core import LossModule, Reduction, check_option, check_positive, or_one, reduce_loss
from ._rotated_pairs import read_rows

FLOOR = 1e-3
"""Part of a side below which the logarithm goes over into its tangent, so that float16 can hold the slopes."""

DistanceOrder = Literal["trbl", "tblr", "ltrb"]
Mode = Literal["linear", "log"]

AXES = {"trbl": ((3, 1), (0, 2)), "tblr": ((2, 3), (0, 1)), "ltrb": ((0, 2), (1, 3))}
"""Which distances are (left, right) and which (top, bottom)."""


def edge_iou_loss(
    edges: Tensor,
    target_edges: Tensor,
    *,
    distance_order: DistanceOrder = "trbl",
    mode: Mode = "log",
    smooth: float = 0.0,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Minus the logarithm of the IoU of two boxes around one point, each given by its four distances.

        L = -log IoU   or, with mode "linear",   L = 1 - IoU,   IoU = (I + smooth) / (U + smooth)

    The geometry term of EAST and the box term of FCOS. Both boxes are taken to have the same angle, which EAST leaves
    to :func:`angle_loss`; :func:`rotated_iou_loss` sees both at once. Unlike :func:`iou_loss` it pulls on a box that
    has shrunk to its point, and on one that lies beside its target or is turned inside out by negative distances.

    Shapes:
        edges, target_edges: (..., 4) distances from the point outwards, the same shape, any unit (but see `smooth`).
        returns: () or, with reduction "none", (...), one a point, float32 (float64 for float64).

    Args:
        distance_order: "trbl" (top, right, bottom, left: EAST's paper), "tblr" (much EAST code) or "ltrb" (FCOS).
            Only the pairs of opposite sides matter.
        mode: "log" or "linear".
        smooth: added to intersection and union, >= 0, in squared units of the distances.
        mask: (...) bool, broadcastable, False = leave out.
        weights: (...) factor per point, broadcastable; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid points; nothing valid gives 0.

    Raises:
        ValueError: shapes that differ, edges without four distances, another order or mode, a negative smooth.

    Reference:
        Zhou et al. 2017, arXiv:1704.03155 (EAST), section 3.4.2; Yu et al. 2016, arXiv:1608.01471 (UnitBox).

    Differs:
        Published EAST code adds 1 to both areas: with distances in pixels, smooth=1 is that loss. In other units the 1
        is not small, so that it is off here. The log is then one of each axis, and goes on as its tangent where less
        than 1e-3 of the longer side is shared: no overlap in one axis costs 7.91, in both 15.82. A negative distance
        is a side beyond the point. In that code and in FCOS's two of them make an area again, and a loss below 0.

    Example:
        Boxes of 4 x 2 and 2 x 2 around a point: half is shared.

        >>> edges, target = torch.tensor([1.0, 2.0, 1.0, 2.0]), torch.tensor([1.0, 1.0, 1.0, 1.0])
        >>> edge_iou_loss(edges, target)
        tensor(0.6931)
        >>> edge_iou_loss(edges, target, mode="linear")
        tensor(0.5000)
        >>> edge_iou_loss(edges, target, mode="linear", smooth=1.0)  # 1 - 5 / 9
        tensor(0.4444)
    """
    check_option("edge_iou_loss", "distance_order", distance_order, tuple(AXES))
    check_option("edge_iou_loss", "mode", mode, ("linear", "log"))
    check_positive("edge_iou_loss", "smooth", smooth, or_zero=True)
    meaning = f"distances in the order {distance_order}"
    inputs = read_rows("edge_iou_loss", "edges", edges, target_edges, 4, meaning, mask=mask, weights=weights)
    x, y = (_axis(inputs.rows, inputs.target_rows, *sides) for sides in AXES[distance_order])
    if smooth:
        intersection, union = _smooth_areas(x, y, smooth)
        loss = union.log() - intersection.log() if mode == "log" else 1 - intersection / union
    elif mode == "log":
        loss = _minus_log(x, y)
    else:
        intersection = x.overlap * y.overlap
        loss = 1 - intersection / or_one(x.size * y.size + x.target_size * y.target_size - intersection)
    return reduce_loss("edge_iou_loss", loss, reduction, valid=inputs.valid, weights=inputs.weights)


class _Axis(NamedTuple):
    """Two intervals around a point; lengths are fractions of the longer one."""

    size: Tensor
    target_size: Tensor
    overlap: Tensor
    gap: Tensor
    """Between the intervals, over itself and the target: 0 where they overlap, towards 1 far apart."""
    unit: Tensor
    """The longer length, in the unit of the distances."""


def _axis(edges: Tensor, target_edges: Tensor, first: int, second: int) -> _Axis:
    near = torch.minimum(edges, target_edges)
    lengths = (rows[..., first] + rows[..., second] for rows in (edges, target_edges, near))
    size, target_size, shared = lengths
    gap = -shared.clamp(max=0)
    size, target_size, overlap = size.clamp(min=0), target_size.clamp(min=0), shared.clamp(min=0)
    gap_part = gap / or_one(target_size + gap)
    unit = torch.maximum(size, target_size)
    # Two boxes without a length there: as if all lengths were 1, so that they agree.
    point = (unit == 0).to(unit.dtype)
    size, target_size, overlap = (_part(length, unit, point) for length in (size, target_size, overlap))
    return _Axis(size, target_size, overlap, gap_part, unit)


def _part(length: Tensor, unit: Tensor, point: Tensor) -> Tensor:
    return (length + point) / (unit + point)


def _minus_log(x: _Axis, y: _Axis) -> Tensor:
    """``log(area / I + target area / I - 1)``: the areas' ratios are products over the axes, so nothing can vanish.

    The gaps are the pull that an IoU of 0 has not.
    """
    shared = _log(x.overlap) + _log(y.overlap)
    outside = _log(x.size) + _log(y.size) - shared
    missed = _log(x.target_size) + _log(y.target_size) - shared
    return torch.log1p(torch.expm1(outside) + torch.expm1(missed)) + x.gap + y.gap


def _log(part: Tensor) -> Tensor:
    return part.clamp(min=FLOOR).log() - (1 - part.clamp(max=FLOOR) / FLOOR)


def _smooth_areas(x: _Axis, y: _Axis, smooth: float) -> tuple[Tensor, Tensor]:
    """Intersection and union, both plus `smooth`, in a unit in which they can neither overflow nor both vanish."""
    unit = torch.maximum(x.unit, y.unit).detach().clamp(min=math.sqrt(smooth))
    added, whole = smooth / unit / unit, (x.unit / unit) * (y.unit / unit)
    intersection = whole * x.overlap * y.overlap
    union = whole * (x.size * y.size + x.target_size * y.target_size) - intersection
    least = torch.finfo(added.dtype).tiny
    return (intersection + added).clamp(min=least), (union + added).clamp(min=least)


class EdgeIoULoss(LossModule):
    """Module form of :func:`edge_iou_loss`."""

    def __init__(
        self,
        *,
        distance_order: DistanceOrder = "trbl",
        mode: Mode = "log",
        smooth: float = 0.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.distance_order: DistanceOrder = distance_order
        self.mode: Mode = mode
        self.smooth = smooth
        self.reduction: Reduction = reduction

    def forward(
        self, edges: Tensor, target_edges: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return edge_iou_loss(
            edges,
            target_edges,
            distance_order=self.distance_order,
            mode=self.mode,
            smooth=self.smooth,
            mask=mask,
            weights=weights,
            reduction=self.reduction,
        )
