"""Bhattacharyya distance of pairs of rotated boxes on the CPU, with its gradient in the boxes, in one pass.

The distance is made as in `geometry/gaussians.py`, which is the specification; only its three logarithms are one, of a
product. The gradient follows from it: of d = xᵀ M⁻¹ x, with y = M⁻¹ x, it is 2 y in x and -y yᵀ in M, which is the sum
of both covariances; nothing cancels there. Everything is in the pair's unit and by the longer side first. No branch
looks at a box, so that a compiler can do several at once.
"""

import numpy as np
import torch
from numba import njit
from torch import Tensor

from ..geometry import gaussians
from .float_math_cpu import log_of_normal
from .threads_cpu import share_rows

ZERO, HALF, ONE, TWO, SIX, TWELVE = (np.float32(number) for number in (0, 0.5, 1, 2, 6, 12))
SIXTH = np.float32(1 / 6)
SMALLEST_SIDE = np.float32(gaussians.SMALLEST_SIDE)
# Places in flat arrays of boxes. A compiler knows their steps, and that what has no sign does not count from the end.
NUMBERS, Y, WIDTH, HEIGHT, ANGLE = np.uint64(5), np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)
TURNS, NEXT, SINE = np.uint64(6), np.uint64(1), np.uint64(3)
SLOPES, UNIT = np.uint64(6), np.uint64(5)
ROWS_A_THREAD = 8192
"""Fewer are done before a thread has started."""


def measure_pairs(boxes: Tensor, target_boxes: Tensor) -> tuple[Tensor, Tensor]:
    """``(R,)`` distances of float32 boxes and targets ``(R, 5)``, and what `lead_back` makes gradients of, ``(R, 6)``.

    That is the gradient in the boxes as measured by the pair's unit, and the unit. The rows are shared by as many
    threads as torch uses.
    """
    boxes, target_boxes = boxes.detach().contiguous(), target_boxes.detach().contiguous()
    values, slopes = boxes.new_empty(len(boxes)), boxes.new_empty(len(boxes), 6)
    arrays = [tensor.numpy() for tensor in (boxes, target_boxes, _turns(boxes, target_boxes), values, slopes)]

    def work(part: slice) -> None:
        _rows(*(array[part].ravel() for array in arrays))

    share_rows(work, len(boxes), ROWS_A_THREAD)
    return values, slopes


def lead_back(slopes: Tensor, grad: Tensor) -> Tensor:
    """``(R, 5)`` gradient in the boxes, of the upstream one ``(R,)``.

    The unit last, as autograd would: slopes of boxes far apart are huge, and then the upstream gradient is small.
    """
    grads = slopes[:, :5] * grad.unsqueeze(1)
    grads[:, :4] /= slopes[:, 5:]
    return grads


def _turns(boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """``(R, 6)`` cosines, then sines: of the box, of the target, and of the turn from one to the other."""
    angle, target_angle = boxes[:, 4], target_boxes[:, 4]
    # The turn by itself: made of the other two, a small one would be lost in their rounding.
    angles = torch.stack([angle, target_angle, angle - target_angle], 1)
    return torch.cat([angles.cos(), angles.sin()], 1)


@njit(nogil=True, cache=True, error_model="numpy")
def _rows(boxes, targets, turns, values, slopes):
    for row in range(np.uint32(len(values))):  # a wider counter might, for all a compiler knows, overflow times five
        at, turn, out = NUMBERS * np.uint64(row), TURNS * np.uint64(row), SLOPES * np.uint64(row)
        unit, x, y = _offset(boxes, targets, at)
        box, is_high = _longer_first(boxes, at, unit, turns[turn], turns[turn + SINE])
        target, is_target_high = _longer_first(targets, at, unit, turns[turn + NEXT], turns[turn + NEXT + SINE])
        turn += NEXT + NEXT
        cos, sin = _between_longer(turns[turn], turns[turn + SINE], is_high, is_target_high)
        roots, shares = _shares(box, target)
        offset = _along_and_across(box, target, roots, x, y)
        thin, target_thin = _thin(box, roots), _thin(target, roots)
        turned = thin * target_thin * sin * sin
        of_turned = HALF / (ONE + turned)
        values[row] = SIX * of_turned * _spread(shares, offset) + HALF * _log_excess(box, target, turned)

        along, across = _center_slopes(shares, roots, offset, cos, sin, TWELVE * of_turned)
        slopes[out], slopes[out + Y] = along * box[2] - across * box[3], along * box[3] + across * box[2]
        long, short = _turned_slopes(box, target, roots, shares, TWO * of_turned * target_thin * sin * sin)
        long += _slope_of_excess(box[0], target[0], roots[0]) - box[0] * along * (along * SIXTH)
        short += _slope_of_excess(box[1], target[1], roots[1]) - box[1] * across * (across * SIXTH)
        # A side that counts as longer than it is has no slope.
        slopes[out + WIDTH] = (short if is_high else long) if boxes[at + WIDTH] / unit >= SMALLEST_SIDE else ZERO
        slopes[out + HEIGHT] = (long if is_high else short) if boxes[at + HEIGHT] / unit >= SMALLEST_SIDE else ZERO
        of_offset = (box[0] - box[1]) * along * ((box[0] + box[1]) * across * SIXTH)  # it turns before the box
        slopes[out + ANGLE] = TWO * of_turned * thin * target_thin * sin * cos - of_offset
        slopes[out + UNIT] = unit


@njit(nogil=True, cache=True, error_model="numpy")
def _offset(boxes, targets, at):
    """The longest length of the pair, and how far apart the centres are, by it."""
    x, y = boxes[at] - targets[at], boxes[at + Y] - targets[at + Y]
    longest = _larger(boxes[at + WIDTH], boxes[at + HEIGHT])
    longest = _larger(longest, _larger(targets[at + WIDTH], targets[at + HEIGHT]))
    longest = _larger(longest, _larger(abs(x), abs(y)))
    unit = ONE if longest == ZERO else longest
    return unit, x / unit, y / unit


@njit(nogil=True, cache=True, error_model="numpy")
def _longer_first(boxes, at, unit, cos, sin):
    """Both sides and the direction of the longer one; whether that is the height."""
    width, height = boxes[at + WIDTH], boxes[at + HEIGHT]
    is_high = width < height
    width, height = _at_least(width / unit, SMALLEST_SIDE), _at_least(height / unit, SMALLEST_SIDE)
    sides = (height, width) if is_high else (width, height)
    return (sides[0], sides[1], -sin if is_high else cos, cos if is_high else sin), is_high


@njit(nogil=True, cache=True, error_model="numpy")
def _between_longer(cos, sin, is_high, is_target_high):
    """Cosine and sine of the angle from the target's longer side to that of the box."""
    turned_cos, turned_sin = (-sin, cos) if is_high else (sin, -cos)
    same = is_high == is_target_high
    return cos if same else turned_cos, sin if same else turned_sin


@njit(nogil=True, cache=True, error_model="numpy")
def _shares(box, target):
    """The roots of the longer sides' squares and of the shorter ones', summed; each side by its root."""
    long = np.sqrt(box[0] * box[0] + target[0] * target[0])
    short = np.sqrt(box[1] * box[1] + target[1] * target[1])
    return (long, short), (box[0] / long, box[1] / short, target[0] / long, target[1] / short)


@njit(nogil=True, cache=True, error_model="numpy")
def _along_and_across(box, target, roots, x, y):
    """The offset along the longer side and across it, of the box and then of the target."""
    long, short = roots
    along, across = (box[2] * x + box[3] * y) / long, (box[2] * y - box[3] * x) / short
    return along, across, (target[2] * x + target[3] * y) / long, (target[2] * y - target[3] * x) / short


@njit(nogil=True, cache=True, error_model="numpy")
def _spread(shares, offset):
    """What the centres add, but for the stiffness."""
    along, across = shares[1] * offset[0], shares[0] * offset[1]
    target_along, target_across = shares[3] * offset[2], shares[2] * offset[3]
    return along * along + across * across + target_along * target_along + target_across * target_across


@njit(nogil=True, cache=True, error_model="numpy")
def _thin(box, roots):
    """How far a box is from a square: there an angle counts for nothing."""
    return (box[0] - box[1]) / roots[0] * ((box[0] + box[1]) / roots[1])


@njit(nogil=True, cache=True, error_model="numpy")
def _log_excess(box, target, turned):
    """``log((1 + a) (1 + b) (1 + turned))``, a and b of how different the longer and the shorter sides are."""
    long, short = _mean_excess(box[0], target[0]), _mean_excess(box[1], target[1])
    excess = long + short + long * short
    excess = excess + turned + excess * turned  # its factors may be small, and no digit of them is lost
    rounded = ONE + excess
    return log_of_normal(rounded) + (excess - (rounded - ONE)) / rounded


@njit(nogil=True, cache=True, error_model="numpy")
def _mean_excess(side, target):
    """How far the mean of both squares is above their product, by the product."""
    return HALF * ((side - target) / side) * ((side - target) / target)


@njit(nogil=True, cache=True, error_model="numpy")
def _center_slopes(shares, roots, offset, cos, sin, factor):
    """In the offset of the centres, along the longer side of the box and across it."""
    along, across = shares[1] * shares[1] * offset[0] / roots[0], shares[0] * shares[0] * offset[1] / roots[1]
    target_along = shares[3] * shares[3] * offset[2] / roots[0]
    target_across = shares[2] * shares[2] * offset[3] / roots[1]
    along += target_along * cos + target_across * sin
    across += target_across * cos - target_along * sin
    return factor * along, factor * across


@njit(nogil=True, cache=True, error_model="numpy")
def _turned_slopes(box, target, roots, shares, pull):
    """In the longer and in the shorter side, of what the angle adds."""
    of_long = shares[2] * shares[2] + (box[1] / roots[0]) * (box[1] / roots[0])
    of_short = (shares[0] * box[0] + target[1] / roots[0] * target[1]) / roots[1]
    return pull * shares[0] * of_long / roots[1], -pull * shares[1] * of_short / roots[1]


@njit(nogil=True, cache=True, error_model="numpy")
def _slope_of_excess(side, target, root):
    return HALF * ((side - target) / side) * ((side + target) / root) / root


@njit(nogil=True, cache=True)
def _at_least(value, bound):
    return bound if value < bound else value


@njit(nogil=True, cache=True)
def _larger(a, b):
    """It loses a NaN that torch hands on. That one is not lost: each number is measured by itself too."""
    return a if a > b else b
