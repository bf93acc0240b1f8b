"""Small scenes for assigners: random ones, ones full of ties, ones with broken annotations and predictions."""

from dataclasses import dataclass

import torch
from torch import Tensor

from inputs import generator
from matchloss import Targets
from matchloss.geometry import box_iou, grid_anchors, grid_points, pairwise

SIZES, STRIDES, SIDE = [(6, 6), (3, 3), (2, 2)], [8, 16, 32], 48
CLASSES = 3
FLAVOURS = ("random", "ties", "broken", "crowd")


@dataclass(frozen=True)
class MatchingScene:
    """Everything that one assigner or another asks for, float64."""

    anchors: Tensor
    counts: tuple[int, ...]
    points: Tensor
    strides: Tensor
    scores: Tensor
    boxes: Tensor
    targets: Targets

    @property
    def usable(self) -> Tensor:
        """(B, M): targets that may match."""
        boxes = self.targets.boxes
        upright = (boxes[..., 2:] >= boxes[..., :2]).all(-1)
        return self.targets.valid & ~self.targets.ignore & boxes.isfinite().all(-1) & upright

    def overlaps(self, boxes: Tensor) -> Tensor:
        """(B, M, A) IoU with boxes (A, 4) or (B, A, 4)."""
        return pairwise(box_iou, self.targets.boxes, boxes)


def matching_scene(seed: int, flavour: str = "random", *, batch: int = 3, targets: int = 6) -> MatchingScene:
    rng = generator(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=rng, dtype=torch.float64)

    sides = 2 + 38 * uniform(batch, targets, 2) ** 2
    corner = (SIDE + 8) * uniform(batch, targets, 2) - 8
    boxes = torch.cat([corner, corner + sides], -1)
    labels = torch.randint(0, CLASSES, (batch, targets), generator=rng)
    valid, ignore = uniform(batch, targets) < 0.85, uniform(batch, targets) < 0.15
    points = grid_points(SIZES, STRIDES, dtype=torch.float64)
    anchors = grid_anchors(SIZES, STRIDES, scales=[2.0], ratios=[1.0], dtype=torch.float64)
    reach = 3 * points.strides[:, None] * uniform(batch, len(anchors), 4)
    predicted = torch.cat([points.centers - reach[..., :2], points.centers + reach[..., 2:]], -1)
    scores = uniform(batch, len(anchors), CLASSES)
    if flavour == "ties":  # whole multiples of 4 pixels, few scores, every target twice
        boxes, predicted = (boxes / 4).round() * 4, (predicted / 8).round() * 8
        scores = (scores * 2).round() / 2
        boxes[:, targets // 2 :] = boxes[:, : targets - targets // 2]
        labels[:, targets // 2 :] = labels[:, : targets - targets // 2]
    elif flavour == "crowd":  # many on few points
        center = 20 + 4 * uniform(batch, targets, 2)
        boxes = torch.cat([center - sides / 4, center + sides / 4], -1)
    elif flavour == "broken":
        boxes[0, 0, 2:] = boxes[0, 0, :2]  # no area
        boxes[0, 1] = boxes[0, 1, [2, 3, 0, 1]]  # inverted
        boxes[1, 0, 1], boxes[1, 1, 2], boxes[2, 0] = torch.nan, torch.inf, torch.tensor([900.0, 900, 950, 930])
        scores[0, 3, 1], scores[1, :7] = torch.nan, torch.nan
        predicted[0, 8, 2], predicted[1, 9], predicted[2, 9, 1] = torch.nan, torch.inf, torch.inf
        predicted[2, 5] = predicted[2, 5, [2, 3, 0, 1]]
    fields = Targets(labels, boxes, valid, ignore, torch.ones(batch, targets, dtype=torch.float64))
    return MatchingScene(anchors, points.counts, points.centers, points.strides, scores, predicted, fields)
