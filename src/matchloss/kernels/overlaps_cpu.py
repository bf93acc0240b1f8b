"""IoU and DIoU of one pair of boxes, as the plain form computes them: operation by operation, in float32."""

import numpy as np
from numba import njit

ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)


@njit(nogil=True, cache=True, error_model="numpy")
def pair_overlap(box, other, is_diou):
    """`box_iou` or `box_diou` of the geometry, of two boxes as four numbers each."""
    size_x, other_x, both_x, shift_x, hull_x = _axis(box[0], box[2], other[0], other[2])
    size_y, other_y, both_y, shift_y, hull_y = _axis(box[1], box[3], other[1], other[3])
    intersection = both_x * both_y
    union = size_x * size_y + other_x * other_y - intersection
    iou = intersection / (ONE if union == ZERO else union)
    if not is_diou:
        return iou
    longer = max(hull_x, hull_y)
    if longer == ZERO:
        longer = ONE
    wide, high = hull_x / longer, hull_y / longer
    across, down = shift_x * wide, shift_y * high
    diagonal = wide * wide + high * high
    return iou - (across * across + down * down) / (ONE if diagonal == ZERO else diagonal)


@njit(nogil=True, cache=True, error_model="numpy")
def _axis(low, high, other_low, other_high):
    """Both sizes, the overlap and the shift of the centres, by the hull, and the hull."""
    hull = max(max(high, low), max(other_high, other_low)) - min(min(high, low), min(other_high, other_low))
    both = max(min(high, other_high) - max(low, other_low), ZERO)
    shift = ((high - other_high) + (low - other_low)) / TWO
    point = ONE if hull == ZERO else ZERO
    unit = hull + point
    size, other_size = max(high - low, ZERO), max(other_high - other_low, ZERO)
    return (size + point) / unit, (other_size + point) / unit, (both + point) / unit, shift / unit, hull


@njit(nogil=True, cache=True)
def corners(boxes, row):
    """One box as four numbers."""
    return boxes[row, 0], boxes[row, 1], boxes[row, 2], boxes[row, 3]
