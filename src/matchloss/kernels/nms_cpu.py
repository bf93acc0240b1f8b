"""Greedy suppression of a batch on the CPU: a box is compared with the kept boxes of its class alone.

The arithmetic is that of the plain form, operation by operation, in float32: both decide alike to the last bit.
"""

import numpy as np
import torch
from numba import njit
from torch import Tensor

from .overlaps_cpu import corners, pair_overlap


def keep_greedily(
    boxes: Tensor, labels: Tensor, usable: Tensor, *, is_diou: bool, threshold: float, most: int
) -> Tensor:
    """``(B, n)``: which boxes are kept, of ``(B, n, 4)`` float32 boxes, the best first and the usable before others."""
    kept = torch.zeros(usable.shape, dtype=torch.bool)
    arrays = [tensor.contiguous().numpy() for tensor in (boxes, labels.long(), usable)]
    _keep(*arrays, is_diou, np.float32(threshold), most, kept.numpy())
    return kept


@njit(nogil=True, cache=True)
def _keep(boxes, labels, usable, is_diou, threshold, most, kept):
    images, count = usable.shape
    chosen = np.empty(count, dtype=np.int64)
    for image in range(images):
        number = 0
        for i in range(count):
            if number == most or not usable[image, i]:
                break
            free, box = True, corners(boxes[image], i)
            for k in range(number):
                j = chosen[k]
                if labels[image, j] != labels[image, i]:
                    continue
                if threshold >= 0 and _are_apart(corners(boxes[image], j), box):
                    continue
                if pair_overlap(corners(boxes[image], j), box, is_diou) > threshold:
                    free = False
                    break
            if free:
                kept[image, i] = True
                chosen[number] = i
                number += 1


@njit(nogil=True, cache=True)
def _are_apart(box, other):
    """Whether the overlap is surely not above 0: most boxes are far from each other, and a division takes long."""
    x_apart = min(box[2], other[2]) < max(box[0], other[0])
    return x_apart | (min(box[3], other[3]) < max(box[1], other[1]))
