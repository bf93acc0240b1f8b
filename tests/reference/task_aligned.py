"""Task-aligned assignment of one image in float64, pair by pair, written from the table of its variants."""

import math
from dataclasses import dataclass

import numpy as np

from .common import Array

VARIANTS = {
    "tood": {
        "topk_among": "all",
        "conflict": "selected",
        "margin": 0.01,
        "zero_metric": False,
        "eps": 1e-7,
    },
    "ppyoloe": {"conflict": "all", "margin": 1e-9},
    "yolov8": {"topk": 10, "alpha": 0.5, "overlap": "ciou", "margin": 1e-9, "min_side": 16.0},
}


@dataclass
class TaskAligned:
    topk: int = 13
    alpha: float = 1.0
    beta: float = 6.0
    overlap: str = "iou"
    topk_among: str = "inside"
    conflict: str = "inside"
    margin: float = 0.0
    zero_metric: bool = True
    second_topk: int | None = None
    min_side: float | None = None
    min_overlap: float = 0.0
    min_points: int | None = None
    reach: float | None = None
    eps: float = 1e-9

    def assign(self, image: "Image") -> tuple[list[int], list[float], list[bool]]:
        """Target, soft score and ignore flag of each point."""
        self.image = image
        points, rows = range(len(image.points)), [m for m in range(len(image.boxes)) if image.is_matchable(m)]
        selected = {m: self.select(m, list(points)) for m in rows}
        owner = [self.settle(a, [m for m in rows if a in selected[m]], rows) for a in points]
        if self.second_topk is not None:
            for m in rows:
                for a in self.ranked(m, owner)[self.second_topk :]:
                    owner[a] = -1
        if self.min_points is not None:
            owner = self.top_up(rows, owner)
        scores = [0.0] * len(owner)
        for m in rows:
            held = [a for a in points if owner[a] == m]
            best = max((self.metric(m, a) for a in held), default=0.0)
            overlap = max((self.u(m, a) for a in held), default=0.0)
            for a in held:
                scores[a] = self.metric(m, a) / (best + self.eps) * overlap
        ignore = [owner[a] < 0 and image.in_ignored(a) for a in points]
        return owner, scores, ignore

    def select(self, m: int, points: list[int]) -> list[int]:
        if self.topk_among == "inside":
            return sorted((a for a in points if self.passes(m, a)), key=lambda a: (-self.metric(m, a), a))[: self.topk]
        best = sorted((a for a in points if self.possible(m, a)), key=lambda a: (-self.metric(m, a), a))[: self.topk]
        return [a for a in best if self.passes(m, a)]

    def settle(self, a: int, claimants: list[int], rows: list[int]) -> int:
        if len(claimants) < 2:
            return claimants[0] if claimants else -1
        if self.conflict == "all":
            claimants = [m for m in rows if self.possible(m, a)]
        if self.conflict == "inside":
            claimants = [m for m in rows if self.passes(m, a)]
        return min(claimants, key=lambda m: (-self.u(m, a), m))

    def ranked(self, m: int, owner: list[int]) -> list[int]:
        return sorted((a for a in range(len(owner)) if owner[a] == m), key=lambda a: (-self.metric(m, a), a))

    def top_up(self, rows: list[int], owner: list[int]) -> list[int]:
        """The nearest points that are free or that another holds beyond its best, one target after the other."""
        kept = {a for m in rows for a in self.ranked(m, owner)[: self.min_points]}
        owner = list(owner)
        for m in rows:
            missing = self.min_points - owner.count(m)
            open_points = [a for a in range(len(owner)) if a not in kept and self.possible(m, a)]
            center = (self.image.boxes[m][:2] + self.image.boxes[m][2:]) / 2
            open_points.sort(key=lambda a, c=center: (((self.image.points[a] - c) ** 2).sum(), a))
            for a in open_points[: max(missing, 0)]:
                owner[a] = m
                kept.add(a)
        return owner

    def possible(self, m: int, a: int) -> bool:
        image = self.image
        score = image.scores[a, image.labels[m]]
        if not (np.isfinite(image.predictions[a]).all() and 0 <= score <= 1):
            return False
        return self.reach is None or max(image.sides(a, image.boxes[m])) <= self.reach * image.strides[a]

    def passes(self, m: int, a: int) -> bool:
        inside = min(self.image.sides(a, self.widened(m))) > self.margin
        good = self.u(m, a) >= self.min_overlap and (self.zero_metric or self.metric(m, a) > 0)
        return self.possible(m, a) and inside and good

    def widened(self, m: int) -> Array:
        box = self.image.boxes[m].copy()
        for axis in (0, 1):
            if self.min_side is not None and box[axis + 2] - box[axis] < self.min_side:
                center = (box[axis] + box[axis + 2]) / 2
                box[axis], box[axis + 2] = center - self.min_side / 2, center + self.min_side / 2
        return box

    def metric(self, m: int, a: int) -> float:
        return float(self.image.scores[a, self.image.labels[m]] ** self.alpha * self.u(m, a) ** self.beta)

    def u(self, m: int, a: int) -> float:
        measure = {"iou": iou, "ciou": ciou}[self.overlap]
        return max(measure(self.image.predictions[a], self.image.boxes[m]), 0.0)


@dataclass
class Image:
    scores: Array
    predictions: Array
    points: Array
    boxes: Array
    labels: Array
    valid: Array
    ignore: Array
    strides: Array | None = None

    def is_matchable(self, m: int) -> bool:
        x1, y1, x2, y2 = self.boxes[m]
        return bool(self.valid[m] and not self.ignore[m] and np.isfinite(self.boxes[m]).all() and x2 >= x1 and y2 >= y1)

    def sides(self, a: int, box: Array) -> tuple[float, float, float, float]:
        x, y = self.points[a]
        return x - box[0], y - box[1], box[2] - x, box[3] - y

    def in_ignored(self, a: int) -> bool:
        rows = [m for m in range(len(self.boxes)) if self.valid[m] and self.ignore[m]]
        return any(min(self.sides(a, self.boxes[m])) > 0 for m in rows)


def iou(a: Array, b: Array) -> float:
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    area = [max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0) for box in (a, b)]
    union = sum(area) - width * height
    return float(width * height / union) if union > 0 else 0.0


def ciou(a: Array, b: Array) -> float:
    hull = (max(a[2], b[2]) - min(a[0], b[0])) ** 2 + (max(a[3], b[3]) - min(a[1], b[1])) ** 2
    if iou(a, b) == 0:
        return 0.0  # the other two terms only lower it, and below 0 it counts as 0
    apart = ((a[0] + a[2] - b[0] - b[2]) ** 2 + (a[1] + a[3] - b[1] - b[3]) ** 2) / 4
    angles = [math.atan((box[2] - box[0]) / (box[3] - box[1])) for box in (a, b)]
    aspect = 4 / math.pi**2 * (angles[0] - angles[1]) ** 2
    trade_off = aspect / (1 - iou(a, b) + aspect) if aspect else 0.0
    return float(iou(a, b) - apart / hull - trade_off * aspect)
