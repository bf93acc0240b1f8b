"""Of each anchor the best target, on the CPU: overlaps are computed only where anchor and target meet.

The arithmetic is that of the plain form, operation by operation, in float32: both decide alike to the last bit.
"""

import numpy as np
import torch
from numba import njit
from torch import Tensor

from .overlaps_cpu import ZERO, corners, pair_overlap


def best_and_claim(
    boxes: Tensor, matchable: Tensor, anchors: Tensor, *, least: float, takes_last: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``(B, A)`` each: largest overlap and its target; largest overlap as a target's best anchor, and that target.

    Args:
        boxes: (B, M, 4) float32.
        matchable: (B, M) bool.
        anchors: (A, 4) float32.
        least: overlap that a target's best anchor must have.
        takes_last: whether a later target takes an anchor from an earlier one, instead of a better from a worse one.
    """
    shape = (len(boxes), len(anchors))
    overlap, claim_overlap = torch.full(shape, -1.0), torch.full(shape, -1.0)
    target, claim_target = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64)
    reads = [tensor.contiguous().numpy() for tensor in (boxes, matchable, anchors)]
    writes = [tensor.numpy() for tensor in (overlap, target, claim_overlap, claim_target)]
    _scan(*reads, np.float32(least), takes_last, *writes)
    return overlap, target, claim_overlap, claim_target


@njit(nogil=True, cache=True)
def _scan(boxes, matchable, anchors, least, takes_last, best, target, claim, claimant):
    images, targets = matchable.shape
    places, values = np.empty(len(anchors), dtype=np.int64), np.empty(len(anchors), dtype=np.float32)
    for image in range(images):
        for t in range(targets):
            if not matchable[image, t]:
                continue
            count, largest = _meet(corners(boxes[image], t), anchors, places, values)
            for n in range(count):
                a, value = places[n], values[n]
                if value > best[image, a]:
                    best[image, a], target[image, a] = value, t
                if value == largest and value >= least and (takes_last or value > claim[image, a]):
                    claim[image, a], claimant[image, a] = value, t


@njit(nogil=True, cache=True)
def _meet(box, anchors, places, values):
    """Write the anchors that overlap with a target, and by how much; how many there are, and the largest overlap."""
    count, largest = 0, ZERO
    for a in range(len(anchors)):
        anchor = corners(anchors, a)
        # Not `<`: equal points of an axis overlap fully.
        if anchor[2] >= box[0] and box[2] >= anchor[0] and anchor[3] >= box[1] and box[3] >= anchor[1]:
            value = pair_overlap(box, anchor, False)
            if value > ZERO:
                places[count], values[count] = a, value
                count += 1
                largest = max(largest, value)
    return count, largest
