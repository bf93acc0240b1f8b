"""Anchor boxes on the grids of a feature pyramid, and boxes as deltas from their anchors."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .._core import compute_dtype, or_one, to_compute

OCTAVE_SCALES = (4.0, 4.0 * 2 ** (1 / 3), 4.0 * 2 ** (2 / 3))
"""RetinaNet's three sizes a level, in strides."""
SIDE_RATIOS = (0.5, 1.0, 2.0)
"""Its heights over widths."""
SMALLEST_RATIO = 1e-6
"""Of a box's side to its anchor's, when encoded: the logarithm of 0 is no target to train on."""
LARGEST_SHIFT = 1e6
"""Of a centre, in sides of the anchor, when decoded: far outside of any image, and far from overflow."""


def grid_anchors(
    sizes: Sequence[tuple[int, int]],
    strides: Sequence[float],
    *,
    scales: Sequence[float] = OCTAVE_SCALES,
    ratios: Sequence[float] = SIDE_RATIOS,
    offset: float = 0.5,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Anchors of every place of every level: level by level, row by row, then by ratio, then by scale.

        w = stride · scale / √ratio,   h = stride · scale · √ratio,   (x, y) = (column + offset, row + offset) · stride

    For detectors with anchors; the default is RetinaNet's nine a place. One square anchor of eight strides
    (``scales=(8,), ratios=(1,)``) is what ATSS uses, also for heads on points.

    Shapes:
        returns: (A, 4) xyxy in pixels; a place has ``len(ratios) * len(scales)`` of them, one after the other.

    Args:
        sizes: (H, W) of the feature map, one a level.
        strides: pixels between neighbours, one a level.
        scales: sides of the square anchors, in strides.
        ratios: height over width; the area does not change with it.
        offset: where in its cell an anchor has its centre; 0.5 is the middle.
        device, dtype: of the result.

    Raises:
        ValueError: not as many strides as sizes; a stride, scale or ratio that is not positive; none of them.

    Reference:
        Lin et al. 2017, arXiv:1708.02002, section 4 (the sizes and ratios).

    Differs:
        torchvision, detectron2 and mmdetection 2 and 3 put the centre on the cell's top left corner unless told
        otherwise: ``offset=0``. torchvision also rounds the corners of the first anchor to whole pixels, and takes
        sizes in pixels. Order within a place: torchvision and mmdetection as here, detectron2 scale before ratio.

    Example:
        >>> grid_anchors([(1, 2)], [8], scales=[4.0], ratios=[1.0])
        tensor([[-12., -12.,  20.,  20.],
                [ -4., -12.,  28.,  20.]])
    """
    if len(sizes) != len(strides):
        raise ValueError(f"grid_anchors: expected as many sizes as strides, got {len(sizes)} and {len(strides)}")
    for name, values in {"strides": strides, "scales": scales, "ratios": ratios}.items():
        if not (values and all(value > 0 for value in values)):
            raise ValueError(f"grid_anchors: expected positive {name}, at least one, got {list(values)}")
    shapes = [(scale / ratio**0.5 / 2, scale * ratio**0.5 / 2) for ratio in ratios for scale in scales]
    levels = []
    for (height, width), stride in zip(sizes, strides, strict=True):
        x = (torch.arange(width, device=device, dtype=torch.float32) + offset).repeat(height)
        y = (torch.arange(height, device=device, dtype=torch.float32) + offset).repeat_interleave(width)
        # No tensor of the shapes: copying one to a GPU would make the host wait for it.
        boxes = [torch.stack([x - w, y - h, x + w, y + h], dim=-1) for w, h in shapes]
        levels.append(torch.stack(boxes, dim=1).reshape(-1, 4) * stride)
    return torch.cat(levels).to(dtype)


def encode_deltas(boxes: Tensor, anchors: Tensor, *, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """Boxes as shifts of the centre and logarithms of the sides, both relative to their anchors.

        d = ((x - x_a) / w_a, (y - y_a) / h_a, log(w / w_a), log(h / h_a)) · weights

    The regression targets of Faster R-CNN, SSD and RetinaNet. They do not change with the image's scale. Heads on
    points use distances instead: :func:`distances_from_boxes`.

    Shapes:
        boxes: (..., 4) xyxy; anchors: a shape that broadcasts with it, same unit.
        returns: (..., 4), float32 (float64 for float64 boxes).

    Args:
        weights: factor per delta; Fast R-CNN's head has (10, 10, 5, 5), RetinaNet 1.

    Raises:
        ValueError: a weight that is not positive, or not four of them.

    Reference:
        Girshick et al. 2014, arXiv:1311.2524, appendix C, eq. 6 to 9.

    Differs:
        torchvision and detectron2 give -inf or NaN for a box without width. Here a side counts as at least 1e-6 of
        its anchor's, an inverted box as one without width, and a side of an anchor that is 0 as 1.

    Example:
        Twice as wide as its anchor, and moved right by half a width:

        >>> encode_deltas(torch.tensor([0.0, 0.0, 8.0, 4.0]), torch.tensor([0.0, 0.0, 4.0, 4.0]))
        tensor([0.5000, 0.0000, 0.6931, 0.0000])
    """
    _check_weights("encode_deltas", weights)
    boxes, anchors = to_compute(boxes), anchors.to(compute_dtype(boxes))
    sides = or_one((anchors[..., 2:] - anchors[..., :2]).clamp(min=0))
    # Corner by corner: the difference of two centres far from the origin would lose digits.
    shift = ((boxes[..., :2] - anchors[..., :2]) + (boxes[..., 2:] - anchors[..., 2:])) / 2 / sides
    growth = ((boxes[..., 2:] - boxes[..., :2]) / sides).clamp(min=SMALLEST_RATIO).log()
    columns = (*shift.unbind(-1), *growth.unbind(-1))
    return torch.stack([column * weight for column, weight in zip(columns, weights, strict=True)], dim=-1)


def decode_deltas(
    deltas: Tensor,
    anchors: Tensor,
    *,
    weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
    max_log_size: float = math.log(1000 / 16),
) -> Tensor:
    """Boxes from deltas of their anchors, the inverse of :func:`encode_deltas`.

        x = x_a + dx · w_a,   w = w_a · exp(min(dw, max_log_size)),   likewise y and h

    For predictions. The bound keeps the exponential of an untrained head finite; it does not touch boxes of up to 62.5
    times the size of their anchor.

    Shapes:
        deltas: (..., 4); anchors: a shape that broadcasts with it, xyxy.
        returns: (..., 4) xyxy in the anchors' unit, float32 (float64 for float64 deltas).

    Args:
        weights: as given to :func:`encode_deltas`.
        max_log_size: largest logarithm of the ratio of the sides; beyond it the gradient is 0.

    Raises:
        ValueError: a weight or ``max_log_size`` that is not positive, or not four weights.

    Reference:
        Girshick et al. 2014, arXiv:1311.2524, appendix C, eq. 1 to 4; the bound is Detectron's.

    Differs:
        Finite for every finite delta: a centre moves by at most a million sides of its anchor, where others overflow.
        An infinite delta stays infinite or NaN, so that a gradient scaler sees it; torchvision makes its size finite.

    Example:
        >>> decode_deltas(torch.tensor([0.5, 0.0, 0.6931, 0.0]), torch.tensor([0.0, 0.0, 4.0, 4.0])).round()
        tensor([0., 0., 8., 4.])
    """
    if not max_log_size > 0:
        raise ValueError(f"decode_deltas: expected max_log_size > 0, got {max_log_size}")
    _check_weights("decode_deltas", weights)
    columns = to_compute(deltas).unbind(-1)
    deltas = torch.stack([column / weight for column, weight in zip(columns, weights, strict=True)], dim=-1)
    anchors = anchors.to(deltas.dtype)
    sides = anchors[..., 2:] - anchors[..., :2]
    shift = _bounded(deltas[..., :2], -LARGEST_SHIFT, LARGEST_SHIFT)
    half = sides / 2 * _bounded(deltas[..., 2:], None, max_log_size).exp()
    centers = anchors[..., :2] + sides / 2 + shift * sides
    return torch.cat([centers - half, centers + half], dim=-1)


def _bounded(deltas: Tensor, low: float | None, high: float) -> Tensor:
    """Clamp what is finite; what is not stays to be seen."""
    return torch.where(deltas.isinf(), deltas, deltas.clamp(low, high))


def _check_weights(caller: str, weights: Sequence[float]) -> None:
    if len(weights) != 4 or not all(weight > 0 for weight in weights):
        raise ValueError(f"{caller}: expected four positive weights, got {list(weights)}")
