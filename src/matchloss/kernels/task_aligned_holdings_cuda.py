"""Soft scores of what targets hold, for the GPU kernels of task-aligned assignment."""

import triton
import triton.language as tl

from .task_aligned_pairs_cuda import corners, look_at


@triton.jit(do_not_specialize=["targets"])
def weigh(
    scores, boxes, points, strides, image_step, point_step, class_step,
    target_boxes, labels, owner,
    metrics, highest,  # written: (B, A), and (B, M, 2) bits of the highest metric and overlap
    count, targets, rules: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Metric of each point beside its owner, and what is highest among the points of each target.

    Numbers of at least 0 order as their bits do: a maximum of whole numbers, which no order of programs changes.
    """
    image = tl.program_id(1).to(tl.int64)
    place = tl.program_id(0) * TILE + tl.arange(0, TILE)
    target_row = tl.load(owner + image * count + place, mask=place < count, other=-1)
    held = target_row >= 0
    if tl.max(held.to(tl.int32), 0) > 0:
        seen = (scores + image * image_step, boxes + image * count * 4, points, strides, point_step, class_step)
        row = image * targets + target_row
        target, label = corners(target_boxes, row, held), tl.load(labels + row, mask=held, other=0)
        _, metric, overlap = look_at(seen, place, held, target, label, rules)
        tl.store(metrics + image * count + place, metric, mask=held)
        tl.atomic_max(highest + row * 2, metric.to(tl.int32, bitcast=True), mask=held, sem="relaxed")
        tl.atomic_max(highest + row * 2 + 1, overlap.to(tl.int32, bitcast=True), mask=held, sem="relaxed")


@triton.jit(do_not_specialize=["targets"])
def write(
    labels, owner, highest, eps,
    label_of_point, soft, ignore,  # written: (B, A); soft holds the metrics
    count, targets, TILE: tl.constexpr,
):  # fmt: skip
    """Labels, soft scores, and no ignored positives."""
    image = tl.program_id(1).to(tl.int64)
    place = tl.program_id(0) * TILE + tl.arange(0, TILE)
    there, point = place < count, image * count + place
    target_row = tl.load(owner + point, mask=there, other=-1)
    held, row = target_row >= 0, image * targets + target_row
    tl.store(label_of_point + point, tl.load(labels + row, mask=held, other=-1), mask=there)
    metric = tl.load(highest + row * 2, mask=held, other=0).to(tl.float32, bitcast=True)
    overlap = tl.load(highest + row * 2 + 1, mask=held, other=0).to(tl.float32, bitcast=True)
    share = tl.div_rn(tl.load(soft + point, mask=held, other=0.0), metric + eps)
    tl.store(soft + point, share * overlap, mask=there)
    tl.store(ignore + point, False, mask=held)
