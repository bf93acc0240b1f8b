"""Who selects which points, and who gets the contested ones, for the GPU kernels of task-aligned assignment.

A list of the best points is one of whole numbers, keys: the bits of the metric, which order as the metric does, and
below them the point, its bits turned. The greatest key is the best point, of equal ones the lowest, and no two are
equal. A target's claim to a point is such a key too, of overlap and target, so that the greatest claim can be found by
an atomic maximum: whatever the order of the programs, the result is the same.
"""

import triton
import triton.language as tl

from .task_aligned_pairs_cuda import corners, is_inside, look_at, passes, pixels, widened

LAST = tl.constexpr(2**31 - 1)
"""All bits of a place, to turn them: a lower one then has the greater key."""
NO_PLACE = tl.constexpr(2**63 - 1)
"""Fills up a list of fewer places than a power of two: never the least, so never replaced."""


@triton.jit(do_not_specialize=["targets"])  # their number changes from batch to batch
def select(
    scores, boxes, points, strides, image_step, point_step, class_step,  # (B, A, C), (B, A, 4), (A, 2), (A,)
    target_boxes, labels, matchable, ignored,  # (B, M, 4), (B, M) ...
    selected, claims, claimants, ignore,  # written: (B, M, topk), (B, A) ...
    count, targets, rules: tl.constexpr, TILE: tl.constexpr, LIST: tl.constexpr,
):  # fmt: skip
    """One program a target: list its best points and claim them, or mark the points of an ignore region."""
    image = tl.program_id(1).to(tl.int64)
    row, first = image * targets + tl.program_id(0), image * count
    target, label = corners(target_boxes, row, True), tl.load(labels + row)
    if tl.load(ignored + row):
        _mark(points, target, ignore + first, count, TILE)
    slot = tl.arange(0, LIST)
    best = tl.where(slot < rules.topk, -1, NO_PLACE).to(tl.int64)
    if tl.load(matchable + row):
        seen = (scores + image * image_step, boxes + first * 4, points, strides, point_step, class_step)
        best = _best_points(seen, target, label, best, count, rules, TILE)
        listed = (slot < rules.topk) & (best >= 0)
        place = tl.where(listed, (best & LAST) ^ LAST, 0).to(tl.int32)
        possible, metric, overlap = look_at(seen, place, listed, target, label, rules)
        x, y = pixels(points, place, listed)
        taken = passes(possible, metric, overlap, x, y, widened(target, rules), rules)
        claim = key_of(overlap, tl.program_id(0))
        tl.atomic_max(claims + first + place, claim, mask=taken, sem="relaxed")
        tl.atomic_add(claimants + first + place, 1, mask=taken, sem="relaxed")
        tl.store(selected + row * rules.topk + slot, tl.where(taken, place, -1), mask=slot < rules.topk)
    else:
        tl.store(selected + row * rules.topk + slot, -1, mask=slot < rules.topk)


@triton.jit
def _mark(points, region, ignore, count, TILE: tl.constexpr):
    for start in range(0, count, TILE):
        place = start + tl.arange(0, TILE)
        x, y = pixels(points, place, place < count)
        tl.store(ignore + place, True, mask=(place < count) & is_inside(x, y, region, 0.0))


@triton.jit
def _best_points(seen, target, label, best, count, rules: tl.constexpr, TILE: tl.constexpr):
    """Go through all points, a tile at a time: all at once would not fit into registers."""
    near = widened(target, rules)
    for start in range(0, count, TILE):
        place = start + tl.arange(0, TILE)
        there = place < count
        x, y = pixels(seen[2], place, there)
        if rules.topk_among == "inside":
            there = there & is_inside(x, y, near, rules.margin)
        if tl.max(there.to(tl.int32), 0) > 0:  # most tiles have no point of the target
            possible, metric, overlap = look_at(seen, place, there, target, label, rules)
            ranked = possible
            if rules.topk_among == "inside":
                ranked = passes(possible, metric, overlap, x, y, near, rules)
            best = _enter(best, tl.where(ranked, key_of(metric, place), -1))
    return best


@triton.jit
def _enter(best, keys):
    """Put the greatest keys in the places of the least: few rounds, once the list has filled."""
    slot = tl.arange(0, best.shape[0])
    greatest, least = tl.max(keys, 0), tl.min(best, 0)
    while greatest > least:
        worst = tl.min(tl.where(best == least, slot, best.shape[0]), 0)  # an empty list has many of -1
        best = tl.where(slot == worst, greatest, best)
        keys = tl.where(keys == greatest, -1, keys)
        greatest, least = tl.max(keys, 0), tl.min(best, 0)
    return best


@triton.jit
def key_of(value, place):
    """Greater for a greater value of at least 0.0, and for a lower place."""
    return (value.to(tl.int32, bitcast=True).to(tl.int64) << 32) | (place ^ LAST)


@triton.jit(do_not_specialize=["targets"])
def settle(
    scores, boxes, points, strides, image_step, point_step, class_step,
    target_boxes, labels, matchable,
    selected, claims, claimants,
    owner,  # written: (B, A)
    count, targets, rules: tl.constexpr, TILE: tl.constexpr, LIST: tl.constexpr,
):  # fmt: skip
    """One program a target: write the owner of the points that it claims before all others."""
    image = tl.program_id(1).to(tl.int64)
    row, first = image * targets + tl.program_id(0), image * count
    slot = tl.arange(0, LIST)
    place = tl.load(selected + row * rules.topk + slot, mask=slot < rules.topk, other=-1)
    claim = tl.load(claims + first + place, mask=place >= 0, other=-1)
    mine = (claim >= 0) & (((claim & LAST) ^ LAST) == tl.program_id(0))
    contested = mine & (tl.load(claimants + first + place, mask=mine, other=0) > 1)
    if rules.conflict == "selected":
        tl.store(owner + first + place, tl.program_id(0).to(tl.int64), mask=mine)
    else:
        tl.store(owner + first + place, tl.program_id(0).to(tl.int64), mask=mine & ~contested)
        seen = (scores + image * image_step, boxes + first * 4, points, strides, point_step, class_step)
        wanted = (target_boxes + image * targets * 4, labels + image * targets, matchable + image * targets)
        left = tl.where(contested, place, -1)
        point = tl.max(left, 0)
        while point >= 0:
            tl.store(owner + first + point, _best_target(seen, wanted, point, targets, rules, TILE))
            left = tl.where(left == point, -1, left)
            point = tl.max(left, 0)


@triton.jit
def _best_target(seen, wanted, point, targets, rules: tl.constexpr, TILE: tl.constexpr):
    """Of all targets, or of all that contain the point, the one of highest overlap; of equal ones the lowest."""
    boxes, labels, matchable = wanted
    highest = tl.full([], -1, tl.int64)
    for start in range(0, targets, TILE):
        target_row = start + tl.arange(0, TILE)
        there = tl.load(matchable + target_row, mask=target_row < targets, other=0) != 0
        target, label = corners(boxes, target_row, there), tl.load(labels + target_row, mask=there, other=0)
        place = point + tl.zeros([TILE], tl.int32)
        possible, metric, overlap = look_at(seen, place, there, target, label, rules)
        if rules.conflict == "inside":
            x, y = pixels(seen[2], place, there)
            possible = passes(possible, metric, overlap, x, y, widened(target, rules), rules)
        highest = tl.maximum(highest, tl.max(tl.where(possible, key_of(overlap, target_row), -1), 0))
    return (highest & LAST) ^ LAST
