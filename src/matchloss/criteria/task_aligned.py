"""Dense detectors whose predictions are matched to targets: :class:`TaskAlignedCriterion`."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from .._core import check_option, check_positive, normalizer as over_ranks
from ..assigners import TaskAlignedAssigner
from ..geometry import Levels
from ..losses import BinaryCrossEntropyLoss, CIoULoss, GIoULoss, QualityFocalLoss, VarifocalLoss
from ..types import Assignment, LossTerms, Targets
from ._assign import assign
from ._box_head import DenseBatch, iou, read_batch
from ._box_rows import COORDINATE_LOSSES, BoxRows, compare, compare_distributions, mean_iou, take_rows
from ._class_rows import EXCLUSIVE_LOSSES, class_probabilities, class_rows
from ._dense import Matched, count, elementwise, of_targets

CALLER = "TaskAlignedCriterion"
Scores = Literal["assigned", "iou", "hard"]
Assigner = Callable[..., Assignment]


class TaskAlignedCriterion(nn.Module):
    """Class loss on all predictions, box loss on those that an assigner matched to a target.

        L = (w_class Σ_all class(x, s) + Σ_positives s (w_box box + w_dfl DFL + w_coordinate coordinate)) / max(Σ s, 1)

    For anchor-free detectors (YOLOv8, PP-YOLOE, TOOD, FCOS and what is built like them), each point of which says
    classes and the distances to four sides. Positives get class and box loss, negatives class loss only, points in
    ignore regions neither. With `scores="hard"` and plain losses this is the composition of the textbooks.

    Shapes:
        levels: one dict a stride with ``logits (B, C, H, W)`` and ``distances (B, 4 * bins, H, W)``: left, top, right
            and bottom in cells, as distributions over 0 .. bins - 1, or, with one bin, as numbers. Or one dict with
            ``logits (B, A, C)``, ``distances (B, A, 4 * bins)`` and ``sizes`` [(H, W), ...], which may be left out
            where the targets know their image_size. A class loss of exclusive classes wants C + 1 logits, the last
            for background. With ``angles (B, 1, H, W)`` or ``(B, A, 1)`` too, in radians and clockwise on the screen,
            boxes are rotated: their distances run along their own axes.
        targets: Targets, or a list with one dict an image: ``boxes`` xyxy in pixels, or beside angles cxcywha,
            ``labels``, and optional ``ignore`` or ``iscrowd``, and ``weights``, which multiply the positives' terms.
        normalizer: optional (), replaces the divisor, for gradient accumulation; see ``matchloss._core.normalizer``.
        returns: LossTerms; terms ``class_positive``, ``class_negative``, ``box``, and where they are on ``dfl`` and
            ``coordinate``; stats ``positives``, ``score_sum``, ``mean_iou`` (of positives), ``targets``, ``starved``
            (targets without a positive), ``ignored``.

    Args:
        num_classes: without background.
        strides: pixels of a cell, one a level.
        assigner: TaskAlignedAssigner, SimOTAAssigner, ATSSAssigner, MaxIoUAssigner, or any callable with the first
            one's arguments. The last two see squares of 8 strides about the points.
        class_loss: module; BCE, varifocal, quality focal, focal; or cross entropy or softmax focal.
        box_loss: module of boxes in pixels (any IoU loss; beside angles one of rotated boxes, and an assigner with
            one of their overlaps), or of four numbers, in cells (L1, L2, smooth L1).
        coordinate_loss: further module of four numbers beside an IoU loss, or None.
        scores: soft class targets: the assigner's, the IoU of the positive's box with its target, or 1.
        class_weight, box_weight, dfl_weight, coordinate_weight: factors of the terms; `dfl_weight` None where there is
            one bin.
        weigh_boxes: whether the score multiplies the box terms too.
        least_total: floor of the divisor, over all ranks.

    Raises:
        ValueError: shapes that do not fit, a dfl_weight with one bin, a softmax loss without a background channel, a
            soft score for it.

    Reference:
        Feng et al. 2021, TOOD, arXiv:2108.07755, eq. 6 to 9; Li et al. 2020, arXiv:2006.04388, eq. 6, for DFL.

    Differs:
        The divisor is summed over ranks; Ultralytics' is local, and its total is multiplied by the batch size. There
        and in PP-YOLOE points in crowd regions are trained as background. Targets of DFL end at bins - 1.01, as there.
        Terms of a batch without objects are 0 with a gradient, never missing.

    Example:
        Nine points, four of which lie in the only object:

        >>> criterion = TaskAlignedCriterion.yolov8(num_classes=2, strides=[8])
        >>> level = {"logits": torch.zeros(1, 2, 3, 3), "distances": torch.zeros(1, 16, 3, 3, requires_grad=True)}
        >>> target = {"boxes": torch.tensor([[0.0, 0.0, 12.0, 12.0]]), "labels": torch.tensor([1])}
        >>> loss = criterion([level], [target])
        >>> {name: round(term.item(), 3) for name, term in loss.terms.items()}
        {'class_positive': 2.773, 'class_negative': 3.466, 'box': 3.073, 'dfl': 1.1}
        >>> loss.stats["positives"]
        tensor(4)
    """

    def __init__(
        self,
        num_classes: int,
        strides: Sequence[float],
        *,
        assigner: Assigner | None = None,
        class_loss: nn.Module | None = None,
        box_loss: nn.Module | None = None,
        coordinate_loss: nn.Module | None = None,
        scores: Scores = "assigned",
        class_weight: float = 1.0,
        box_weight: float = 2.5,
        dfl_weight: float | None = 0.5,
        coordinate_weight: float = 1.0,
        weigh_boxes: bool = True,
        least_total: float = 1.0,
    ) -> None:
        super().__init__()
        check_option(CALLER, "scores", scores, ("assigned", "iou", "hard"))
        check_positive(CALLER, "num_classes", num_classes)
        self.num_classes, self.strides = num_classes, tuple(strides)
        self.assigner = assigner or TaskAlignedAssigner()
        self.class_loss = elementwise(class_loss or BinaryCrossEntropyLoss())
        self.box_loss = elementwise(box_loss or CIoULoss())
        self.coordinate_loss = None if coordinate_loss is None else elementwise(coordinate_loss)
        self.scores: Scores = scores
        self.class_weight, self.box_weight, self.dfl_weight = class_weight, box_weight, dfl_weight
        self.coordinate_weight = coordinate_weight
        self.weigh_boxes, self.least_total = weigh_boxes, least_total

    @classmethod
    def tood(cls, num_classes: int, strides: Sequence[float]) -> "TaskAlignedCriterion":
        """TOOD: quality focal and GIoU, one number a side."""
        return cls(
            num_classes,
            strides,
            assigner=TaskAlignedAssigner.tood(),
            class_loss=QualityFocalLoss(beta=2),
            box_loss=GIoULoss(),
            box_weight=2.0,
            dfl_weight=None,
            least_total=0.0,
        )

    @classmethod
    def ppyoloe(cls, num_classes: int, strides: Sequence[float]) -> "TaskAlignedCriterion":
        """PP-YOLOE: varifocal, GIoU and DFL."""
        return cls(
            num_classes,
            strides,
            assigner=TaskAlignedAssigner.ppyoloe(),
            class_loss=VarifocalLoss(alpha=0.75, gamma=2, positives="labels"),
            box_loss=GIoULoss(),
            box_weight=2.5,
            dfl_weight=0.5,
        )

    @classmethod
    def yolov8(cls, num_classes: int, strides: Sequence[float]) -> "TaskAlignedCriterion":
        """YOLOv8: binary cross entropy, CIoU and DFL."""
        return cls(
            num_classes,
            strides,
            assigner=TaskAlignedAssigner.yolov8(),
            class_loss=BinaryCrossEntropyLoss(),
            box_loss=CIoULoss(),
            class_weight=0.5,
            box_weight=7.5,
            dfl_weight=1.5,
        )

    def forward(
        self, levels: Levels, targets: Targets | Sequence[dict[str, Tensor]], *, normalizer: Tensor | None = None
    ) -> LossTerms:
        """Match, compare, and divide once."""
        batch = self._read(levels, targets)
        targets, logits = batch.targets, batch.logits
        assignment, _, boxes, *_ = self._match(batch)
        target_boxes = of_targets(batch.target_boxes(CALLER), assignment.target_index)
        scores = self._soft_scores(assignment, boxes, target_boxes)
        positive = assignment.target_index >= 0
        score_sum = scores.sum()
        total = over_ranks(score_sum, at_least=self.least_total) if normalizer is None else normalizer
        weights = torch.where(positive, of_targets(targets.weights, assignment.target_index), 0.0)

        classes = class_rows(self.class_loss, logits, assignment, scores)
        box_weights = weights * scores if self.weigh_boxes else weights
        rows = take_rows(batch.head, batch.points, positive, target_boxes, box_weights)
        sums = {
            "class_positive": self.class_weight * torch.where(positive, classes * weights, 0.0).sum(),
            "class_negative": self.class_weight * torch.where(positive, 0.0, classes).sum(),
            **self._box_terms(rows),
        }
        terms = {name: value / total for name, value in sums.items()}
        stats = {**count(assignment, targets), "score_sum": score_sum, "mean_iou": mean_iou(rows)}
        return LossTerms(torch.stack(list(terms.values())).sum(), terms, stats)

    @torch.no_grad()
    def match(self, levels: Levels, targets: Targets | Sequence[dict[str, Tensor]]) -> Matched:
        """Which prediction is trained on which target; :func:`matchloss.explain.explain_assignment` says why."""
        return self._match(self._read(levels, targets))

    def _read(self, levels: Levels, targets: Targets | Sequence[dict[str, Tensor]]) -> DenseBatch:
        batch = read_batch(CALLER, levels, targets, self.strides)
        self._check(batch)
        return batch

    @torch.no_grad()
    def _match(self, batch: DenseBatch) -> Matched:
        points = batch.points
        boxes = batch.head.boxes(points.centers, points.strides[:, None])
        probabilities = class_probabilities(batch.logits, self.num_classes)
        assignment = assign(self.assigner, probabilities, boxes, points, batch.targets)
        return Matched(assignment, probabilities, boxes, *points)

    @torch.no_grad()
    def _soft_scores(self, assignment: Assignment, boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """``(B, A)`` class target of each prediction, 0 for background."""
        positive = assignment.target_index >= 0
        if self.scores == "assigned":
            return assignment.scores.to(boxes.dtype)
        if self.scores == "hard":
            return positive.to(boxes.dtype)
        return torch.where(positive, iou(boxes, target_boxes), 0.0)

    def _box_terms(self, rows: BoxRows) -> dict[str, Tensor]:
        """Weighted sums of the terms that only positives have."""
        terms = {"box": self.box_weight * compare(self.box_loss, rows)}
        if self.dfl_weight is not None:
            terms["dfl"] = self.dfl_weight * compare_distributions(rows)
        if self.coordinate_loss is not None:
            terms["coordinate"] = self.coordinate_weight * compare(self.coordinate_loss, rows)
        return terms

    def _check(self, batch: DenseBatch) -> None:
        (targets, logits, (sides, angles), _) = batch
        exclusive = isinstance(self.class_loss, EXCLUSIVE_LOSSES)
        channels = self.num_classes + exclusive
        if logits.shape[-1] != channels:
            background = ", the last for background" if exclusive else ""
            raise ValueError(f"{CALLER}: expected {channels} class logits{background}, got {logits.shape[-1]}")
        if exclusive and self.scores != "hard":
            raise ValueError(f"{CALLER}: expected scores='hard' for exclusive classes, got {self.scores!r}")
        bins, rest = divmod(sides.shape[-1], 4)
        if rest or bins == 0:
            raise ValueError(f"{CALLER}: expected 4 * bins channels of distances, got {sides.shape[-1]}")
        if (self.dfl_weight is not None) and bins == 1:
            raise ValueError(f"{CALLER}: expected dfl_weight=None for distances of one bin, got {self.dfl_weight}")
        if len(targets.labels) != len(logits):
            raise ValueError(f"{CALLER}: expected targets of {len(logits)} images, got {len(targets.labels)}")
        losses = (self.box_loss, self.coordinate_loss)
        if angles is not None and any(isinstance(loss, COORDINATE_LOSSES) for loss in losses):
            raise ValueError(f"{CALLER}: expected losses of rotated boxes beside angles, got {self.box_loss}")
