"""Rotated boxes as Gaussians, and how far apart two of these are.

A box stands for the Gaussian with its centre and, along its sides, the standard deviations w / 2 and h / 2 (ProbIoU:
w / √12 and h / √12). All distances are written in sides and the angle between the boxes, with the longer side first:
they are sums of terms that are not negative, where determinants and inverses of 2 x 2 matrices would cancel. None of
them can tell how a square is turned.

A pair is measured by its longest length, and a side is at least a billionth of that: every value is finite.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .._core import compute_dtype, or_one, to_compute
from ._polygons import broadcast

SMALLEST_SIDE = 1e-9
"""Of the pair's longest length."""


class GaussianPair(NamedTuple):
    """Two boxes ``(...)``, in the pair's unit; each by its longer and its shorter side."""

    long: Tensor
    short: Tensor
    target_long: Tensor
    target_short: Tensor
    along: Tensor
    """Offset of the centres, along the box's longer side."""
    across: Tensor
    target_along: Tensor
    """The same offset along the target's longer side."""
    target_across: Tensor
    cos2: Tensor
    """Squared cosine of the angle between the longer sides."""
    sin2: Tensor
    unit: Tensor
    """The longest length, detached."""


class Wasserstein(NamedTuple):
    """Parts of the squared Wasserstein distance, in the pair's unit."""

    center: Tensor
    """Squared distance of the centres."""
    shape: Tensor
    """What sides and angle add."""
    area: Tensor
    """√(w h w_t h_t), to make the sum independent of the scale."""
    unit: Tensor
    """The pair's unit, detached: ``(center + shape) * unit**2`` is in squared pixels."""


def compare_gaussians(boxes: Tensor, target_boxes: Tensor) -> GaussianPair:
    """Compare rotated boxes ``(..., 5)`` with targets of a broadcastable shape, in float32 or float64."""
    boxes, target_boxes = broadcast(to_compute(boxes), target_boxes.to(compute_dtype(boxes)))
    offset = boxes[..., :2] - target_boxes[..., :2]
    lengths = torch.cat([offset.abs(), boxes[..., 2:4], target_boxes[..., 2:4]], dim=-1)
    unit = or_one(lengths.detach().amax(-1))
    x, y = (offset / unit.unsqueeze(-1)).unbind(-1)
    long, short, cos, sin = _longer_first(boxes, unit)
    target_long, target_short, target_cos, target_sin = _longer_first(target_boxes, unit)
    along, across = cos * x + sin * y, cos * y - sin * x
    target_along, target_across = target_cos * x + target_sin * y, target_cos * y - target_sin * x
    turn = boxes[..., 4] - target_boxes[..., 4]
    crossed = (boxes[..., 2] < boxes[..., 3]) != (target_boxes[..., 2] < target_boxes[..., 3])
    cos2, sin2 = turn.cos().square(), turn.sin().square()
    cos2, sin2 = torch.where(crossed, sin2, cos2), torch.where(crossed, cos2, sin2)
    return GaussianPair(
        long, short, target_long, target_short, along, across, target_along, target_across, cos2, sin2, unit
    )


def _longer_first(boxes: Tensor, unit: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Both sides, and the direction of the longer one."""
    width, height, angle = boxes[..., 2:].unbind(-1)
    width, height = (width / unit).clamp(min=SMALLEST_SIDE), (height / unit).clamp(min=SMALLEST_SIDE)
    swap, cos, sin = boxes[..., 2] < boxes[..., 3], angle.cos(), angle.sin()
    long, short = torch.where(swap, height, width), torch.where(swap, width, height)
    return long, short, torch.where(swap, -sin, cos), torch.where(swap, cos, sin)


def gaussian_wasserstein(boxes: Tensor, target_boxes: Tensor) -> Wasserstein:
    """Squared 2-Wasserstein distance of two rotated boxes as Gaussians, in its two parts.

        W² = |c - c_t|² + tr(Σ + Σ_t - 2 (Σ^½ Σ_t Σ^½)^½)
        tr(...) = ((l - l_t)² + (s - s_t)²) / 4 + (l² - s²)(l_t² - s_t²) sin²δ / (2 (P + √(P² cos²δ + Q² sin²δ)))
        P = l l_t + s s_t,   Q = l s_t + s l_t

    of the longer sides l, the shorter ones s, and the angle δ between the longer ones.

    Shapes:
        boxes, target_boxes: (..., 5), broadcastable.

    Reference:
        Yang et al. 2021, arXiv:2101.11952, eq. 4 to 6.

    Example:
        >>> parts = gaussian_wasserstein(torch.tensor([3.0, 0, 4, 2, 0]), torch.tensor([0.0, 0, 4, 2, 0]))
        >>> (parts.center + parts.shape) * parts.unit**2
        tensor(9.)
    """
    pair = compare_gaussians(boxes, target_boxes)
    l, s, lt, st = pair[:4]  # noqa: E741
    parallel, crossing = l * lt + s * st, l * st + s * lt
    mean = (parallel.square() * pair.cos2 + crossing.square() * pair.sin2).sqrt()
    turned = (l - s) * (l + s) * (lt - st) * (lt + st) * pair.sin2 / (2 * (parallel + mean))
    shape = ((l - lt).square() + (s - st).square()) / 4 + turned
    area = (l * s).sqrt() * (lt * st).sqrt()
    return Wasserstein(pair.along.square() + pair.across.square(), shape, area, pair.unit)


def gaussian_kl_divergence(boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the boxes' Gaussians from those of the targets; swap the two for the other one.

        KL(N || N_t) = ½ ((c - c_t)ᵀ Σ_t⁻¹ (c - c_t) + tr(Σ_t⁻¹ Σ) - 2 + ln |Σ_t| / |Σ|)

    Shapes:
        boxes, target_boxes: (..., 5), broadcastable.
        returns: (...), >= 0, float32 (float64 for float64 boxes).

    Reference:
        Yang et al. 2021, arXiv:2106.01883, eq. 4 to 8, where this is ``KL(N_p || N_t)``.

    Example:
        >>> gaussian_kl_divergence(torch.tensor([1.0, 0, 4, 2, 0]), torch.tensor([0.0, 0, 4, 2, 0]))
        tensor(0.1250)
    """
    pair = compare_gaussians(boxes, target_boxes)
    l, s, lt, st = pair[:4]  # noqa: E741
    center = 4 * ((pair.target_along / lt).square() + (pair.target_across / st).square())
    turned = _square_excess(l, s, st) * _square_excess(lt, st, lt) * pair.sin2
    return (center + turned + _log_excess(l, lt) + _log_excess(s, st)) / 2


def gaussian_symmetric_divergence(boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """Mean of both Kullback-Leibler divergences (Jeffreys, halved).

    Example:
        >>> gaussian_symmetric_divergence(torch.tensor([1.0, 0, 4, 2, 0]), torch.tensor([0.0, 0, 4, 2, 0]))
        tensor(0.1250)
    """
    return (gaussian_kl_divergence(boxes, target_boxes) + gaussian_kl_divergence(target_boxes, boxes)) / 2


def _square_excess(side: Tensor, other: Tensor, unit: Tensor) -> Tensor:
    """``(side² - other²) / unit²``."""
    return ((side - other) / unit) * ((side + other) / unit)


def _log_excess(side: Tensor, target: Tensor) -> Tensor:
    """``r² - 1 - ln r²`` of the ratio r, at least 0."""
    excess = _square_excess(side, target, target)
    close = excess.abs() < 0.5
    # Near 1 from the difference, which is exact there; elsewhere the square of a small ratio would round to -1.
    near = torch.where(close, excess, 0.0)
    return torch.where(close, near - near.log1p(), excess - 2 * (side.log() - target.log())).clamp(min=0)


def kalman_iou(boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """IoU-like overlap of the Gaussians' shapes, centres apart: in (0, 1/3], 1/3 for equal shapes.

        KFIoU = V / (w h + w_t h_t - V),   V = w h w_t h_t / (16 |Σ + Σ_t|)^½,
        16 |Σ + Σ_t| = (l² + l_t²)(s² + s_t²) + (l² - s²)(l_t² - s_t²) sin²δ

    Shapes:
        boxes, target_boxes: (..., 5), broadcastable.
        returns: (...), float32 (float64 for float64 boxes).

    Reference:
        Yang et al. 2022, arXiv:2201.12558, eq. 4 to 7: V is the area of both Gaussians' product.

    Example:
        >>> kalman_iou(torch.tensor([1.0, 0, 4, 2, 0]), torch.tensor([0.0, 0, 4, 2, 0]))
        tensor(0.3333)
    """
    pair = compare_gaussians(boxes, target_boxes)
    l, s, lt, st = pair[:4]  # noqa: E741
    # All by the larger area, square roots one by one: products of four thin sides would vanish.
    long, short = torch.hypot(l, lt), torch.hypot(s, st)
    grown = (1 + (l - s) / long * ((l + s) / long) * ((lt - st) / short) * ((lt + st) / short) * pair.sin2).sqrt()
    # |Σ + Σ_t|^½ = long short grown / 4, and V over each area:
    over_area, over_target = lt / long * (st / short) / grown, l / long * (s / short) / grown
    return 1 / (1 / over_area + 1 / over_target - 1)


def bhattacharyya_distance(boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """Bhattacharyya distance of the boxes as Gaussians with variances w² / 12 and h² / 12, those of a filled box.

        B = ¼ (c - c_t)ᵀ (Σ + Σ_t)⁻¹ (c - c_t) + ½ ln(|Σ + Σ_t| / (4 √(|Σ| |Σ_t|)))

    Shapes:
        boxes, target_boxes: (..., 5), broadcastable.
        returns: (...), >= 0, float32 (float64 for float64 boxes).

    Reference:
        Llerena et al. 2021, arXiv:2106.06072, eq. 4 to 7.

    Example:
        >>> bhattacharyya_distance(torch.tensor([1.0, 0, 4, 2, 0]), torch.tensor([0.0, 0, 4, 2, 0]))
        tensor(0.0937)
    """
    pair = compare_gaussians(boxes, target_boxes)
    l, s, lt, st = pair[:4]  # noqa: E741
    long, short = torch.hypot(l, lt), torch.hypot(s, st)
    turned = (l - s) / long * ((l + s) / long) * ((lt - st) / short) * ((lt + st) / short) * pair.sin2
    # vᵀ M⁻¹ v of a 2 x 2 matrix: its transposed cofactors over its determinant, a sum of squares.
    spread = ((s / short) * (pair.along / long)).square() + ((st / short) * (pair.target_along / long)).square()
    spread = (
        spread + ((l / long) * (pair.across / short)).square() + ((lt / long) * (pair.target_across / short)).square()
    )
    means = _log_mean_excess(l, lt) + _log_mean_excess(s, st)
    return 3 * spread / (1 + turned) + (means + turned.log1p()) / 2


def _log_mean_excess(side: Tensor, target: Tensor) -> Tensor:
    """``ln((a² + b²) / (2 a b))``, 0 for equal sides."""
    return ((side - target) / side * ((side - target) / target) / 2).log1p()


def hellinger_distance(boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """Hellinger distance ``√(1 - exp(-B))``, in [0, 1], of the Bhattacharyya distance B; 1 minus it is ProbIoU.

    Its slope does not vanish as the boxes meet; for equal boxes it is taken as 0.

    Reference:
        Llerena et al. 2021, arXiv:2106.06072, eq. 8.

    Example:
        >>> hellinger_distance(torch.tensor([1.0, 0, 4, 2, 0]), torch.tensor([0.0, 0, 4, 2, 0]))
        tensor(0.2991)
    """
    return to_hellinger(bhattacharyya_distance(boxes, target_boxes))


def to_hellinger(distance: Tensor) -> Tensor:
    """The Hellinger distance that belongs to a Bhattacharyya distance."""
    squared = -torch.expm1(-distance)
    apart = squared > 0
    return torch.where(apart, torch.where(apart, squared, 1.0).sqrt(), squared)
