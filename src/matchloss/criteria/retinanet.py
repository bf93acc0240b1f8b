"""Dense detectors with anchors: :class:`RetinaNetCriterion`."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .._core import check_positive, normalizer as over_ranks, to_compute
from ..assigners import MaxIoUAssigner
from ..geometry import (
    OCTAVE_SCALES,
    SIDE_RATIOS,
    Levels,
    box_iou,
    decode_deltas,
    encode_deltas,
    flatten_levels,
    grid_anchors,
    xyxy_boxes,
)
from ..losses import SigmoidFocalLoss, SmoothL1Loss
from ..types import Assignment, LossTerms, Targets
from ._assign import assign_anchors
from ._box_rows import COORDINATE_LOSSES, index_to_compare
from ._class_rows import class_probabilities, class_rows
from ._dense import Matched, count, elementwise, of_targets, read_targets

CALLER = "RetinaNetCriterion"


class RetinaNetCriterion(nn.Module):
    """Focal loss over all anchors, box loss on those that fit a target.

        L = (w_class Σ_all focal(x, y) + w_box Σ_positives box(d, d*)) / max(positives, 1)

    For detectors with anchors (RetinaNet, SSD, and what is built like them). An anchor that overlaps a target by half
    is a positive, one below 0.4 is background, one between or in an ignore region neither. Points without anchors are
    simpler to tune: see :class:`TaskAlignedCriterion`.

    Shapes:
        levels: one dict a stride with ``logits (B, n * C, H, W)`` and ``deltas (B, n * 4, H, W)``, for n anchors a
            cell in the order of ``grid_anchors``; or one dict with ``logits (B, A, C)``, ``deltas (B, A, 4)`` and
            ``sizes`` [(H, W), ...], which may be left out where the targets know their image_size.
        targets: Targets, or a list with one dict an image: ``boxes`` xyxy in pixels, ``labels``, and optional
            ``ignore`` or ``iscrowd``, and ``weights``, which multiply the positives' terms.
        normalizer: optional (), replaces the divisor, for gradient accumulation.
        returns: LossTerms; terms ``class_positive``, ``class_negative``, ``box``; stats ``positives``, ``mean_iou``,
            ``targets``, ``starved`` (targets without an anchor), ``ignored``.

    Args:
        num_classes: without background.
        strides: pixels of a cell, one a level.
        assigner: MaxIoUAssigner or ATSSAssigner.
        class_loss: module of sigmoid logits with labels.
        box_loss: module of four deltas (L1, L2, smooth L1), or of boxes in pixels (any IoU loss).
        scales: sides of the square anchors, in strides.
        ratios: heights over widths, at equal area.
        class_weight, box_weight: factors of the terms.

    Raises:
        ValueError: shapes that do not fit.

    Reference:
        Lin et al. 2017, arXiv:1708.02002, section 4; the deltas of Girshick et al. 2014, arXiv:1311.2524, appendix C.

    Differs:
        Positives are counted over all ranks; torchvision counts them image by image and averages the images.
        torchvision and mmdetection take plain L1 of the deltas: `box_loss=L1Loss()`; smooth L1 with beta 1/9 is
        Detectron's.

    Example:
        An object that equals an anchor: nothing to learn about its box.

        >>> criterion = RetinaNetCriterion(2, strides=[8], scales=[1.0], ratios=[1.0])
        >>> level = {"logits": torch.full((1, 2, 2, 2), -1.0), "deltas": torch.zeros(1, 4, 2, 2, requires_grad=True)}
        >>> target = {"boxes": torch.tensor([[0.0, 0.0, 8.0, 8.0]]), "labels": torch.tensor([1])}
        >>> loss = criterion([level], [target])
        >>> {name: round(term.item(), 3) for name, term in loss.terms.items()}
        {'class_positive': 0.192, 'class_negative': 0.102, 'box': 0.0}
    """

    def __init__(
        self,
        num_classes: int,
        strides: Sequence[float],
        *,
        assigner: Callable[..., Assignment] | None = None,
        class_loss: nn.Module | None = None,
        box_loss: nn.Module | None = None,
        scales: Sequence[float] = OCTAVE_SCALES,
        ratios: Sequence[float] = SIDE_RATIOS,
        class_weight: float = 1.0,
        box_weight: float = 1.0,
    ) -> None:
        super().__init__()
        check_positive(CALLER, "num_classes", num_classes)
        self.num_classes, self.strides = num_classes, tuple(strides)
        self.assigner = assigner or MaxIoUAssigner()
        self.class_loss = elementwise(class_loss or SigmoidFocalLoss())
        self.box_loss = elementwise(box_loss or SmoothL1Loss(beta=1 / 9))
        self.scales, self.ratios = tuple(scales), tuple(ratios)
        self.class_weight, self.box_weight = class_weight, box_weight

    def forward(
        self, levels: Levels, targets: Targets | Sequence[dict[str, Tensor]], *, normalizer: Tensor | None = None
    ) -> LossTerms:
        """Match, compare, and divide once."""
        targets, logits, deltas, anchors, counts = self._read(levels, targets)
        assignment = assign_anchors(self.assigner, anchors, counts, targets)
        positive = assignment.target_index >= 0
        positives = positive.sum()
        total = over_ranks(positives.to(anchors.dtype)) if normalizer is None else normalizer

        weights = torch.where(positive, of_targets(targets.weights, assignment.target_index), 0.0)
        classes = class_rows(self.class_loss, logits, assignment, positive.to(anchors.dtype))
        matched = of_targets(xyxy_boxes(CALLER, targets), assignment.target_index)
        box, mean_iou = self._compare(deltas, anchors, positive, matched, weights)
        sums = {
            "class_positive": self.class_weight * torch.where(positive, classes * weights, 0.0).sum(),
            "class_negative": self.class_weight * torch.where(positive, 0.0, classes).sum(),
            "box": self.box_weight * box,
        }
        terms = {name: value / total for name, value in sums.items()}
        return LossTerms(
            torch.stack(list(terms.values())).sum(), terms, {**count(assignment, targets), "mean_iou": mean_iou}
        )

    @torch.no_grad()
    def match(self, levels: Levels, targets: Targets | Sequence[dict[str, Tensor]]) -> Matched:
        """Which anchor is trained on which target; :func:`matchloss.explain.explain_assignment` says why."""
        targets, logits, deltas, anchors, counts = self._read(levels, targets)
        assignment = assign_anchors(self.assigner, anchors, counts, targets)
        strides = torch.cat([anchors.new_full((n,), float(s)) for n, s in zip(counts, self.strides, strict=True)])
        probabilities, boxes = class_probabilities(logits, self.num_classes), decode_deltas(deltas, anchors)
        return Matched(assignment, probabilities, boxes, anchors[:, :2] / 2 + anchors[:, 2:] / 2, strides, counts)

    def _read(
        self, levels: Levels, targets: Targets | Sequence[dict[str, Tensor]]
    ) -> tuple[Targets, Tensor, Tensor, Tensor, tuple[int, ...]]:
        targets, shapes = read_targets(targets), len(self.scales) * len(self.ratios)
        logits, deltas, sizes = flatten_levels(
            CALLER, levels, "deltas", self.strides, per_point=shapes, image_size=targets.image_size
        )
        self._check(logits, deltas, targets)
        anchors = grid_anchors(sizes, self.strides, scales=self.scales, ratios=self.ratios, device=deltas.device)
        return targets, logits, deltas, anchors, tuple(shapes * height * width for height, width in sizes)

    def _compare(
        self, deltas: Tensor, anchors: Tensor, positive: Tensor, target_boxes: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Weighted sum of the box loss over the positives, and their mean IoU."""
        batch, rows = len(deltas), index_to_compare(positive)
        positive, weights = positive.flatten()[rows], weights.flatten()[rows]
        # A negative's deltas may be anything, inf too, where all rows are taken.
        deltas = torch.where(positive[:, None], to_compute(deltas.flatten(0, 1)[rows]), 0.0)
        anchors, target_boxes = anchors.repeat(batch, 1)[rows], target_boxes.flatten(0, 1)[rows]
        boxes = decode_deltas(deltas, anchors)
        if isinstance(self.box_loss, COORDINATE_LOSSES):
            loss = self.box_loss(deltas, encode_deltas(target_boxes, anchors), mask=positive[:, None]).sum(-1)
        else:
            loss = self.box_loss(boxes, target_boxes, mask=positive)
        with torch.no_grad():
            iou = torch.where(positive, box_iou(boxes, target_boxes), 0.0)
        return (loss * weights).sum(), iou.sum() / positive.sum().clamp(min=1)

    def _check(self, logits: Tensor, deltas: Tensor, targets: Targets) -> None:
        if logits.shape[-1] != self.num_classes or deltas.shape[-1] != 4:
            got = f"{logits.shape[-1]} and {deltas.shape[-1]}"
            raise ValueError(f"{CALLER}: expected {self.num_classes} logits and 4 deltas an anchor, got {got}")
        if len(targets.labels) != len(logits):
            raise ValueError(f"{CALLER}: expected targets of {len(logits)} images, got {len(targets.labels)}")
