"""Detectors that predict a set, one query an object: :class:`SetCriterion`."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .._core import check_option, check_positive
from ..assigners import HungarianAssigner
from ..losses import CrossEntropyLoss, ProbIoULoss, SigmoidFocalLoss, VarifocalLoss
from ..types import LossTerms, Matching, Targets
from ._class_rows import EXCLUSIVE_LOSSES
from ._dense import elementwise
from ._mask_rows import mask_sums
from ._query_sets import NamedSet, read_query_sets
from ._set_divisors import SetLoss, divisors, of_layers
from ._set_losses import Scores, box_sums, class_sums, set_assignment, set_stats
from ._set_rows import Rows, match_set, take, take_rows

CALLER = "SetCriterion"


class SetCriterion(nn.Module):
    """Class loss on all queries; box and mask losses on those that a matching gave a target.

        L = w_class Σ_queries class(x, c) / D + (w_l1 Σ_pairs |b - b*|_1 + w_giou Σ_pairs (1 - GIoU) + masks) / N

    For DETR and what came of it: YOLOS, Deformable DETR, DINO, RT-DETR, MaskFormer's kind of masks. N is the number of
    targets over all ranks; D is the sum of the class weights of all queries with softmax, N otherwise. The last layer,
    auxiliary layers, the encoder's proposals, denoising queries and one-to-many groups are all "query sets": matched
    in one call where they have one shape, and compared in the same way. Dense heads want :class:`TaskAlignedCriterion`.

    Shapes:
        outputs: a mapping with ``logits (B, Q, C)``, or ``(B, Q, C + 1)`` with softmax, the last for no object, and
            ``pred_boxes (B, Q, 4)`` cxcywh in fractions of the image, or ``(B, Q, 5)`` with an angle, read as by
            :class:`HungarianAssigner`; optional ``pred_masks (B, Q, h, w)`` logits, ``auxiliary_outputs``, a list with
            such a mapping a layer, ``encoder_outputs``, one of them, and ``query_sets``, name -> QuerySet.
        targets: a list with one dict an image: ``boxes`` cxcywh in fractions, ``labels`` or ``class_labels``, optional
            ``masks (m, H, W)``, ``iscrowd`` or ``ignore``, ``weights``; or Targets in any format, which angles need.
        normalizer: optional (), replaces N, for gradient accumulation. The divisor of softmax is the batch's own.
        returns: LossTerms; terms ``class``, ``l1``, ``giou`` (beside angles ``rotated``), and with masks ``mask`` and
            ``dice``, of the last layer; the same with ``_aux_0``, ``_encoder``, ``_NAME_0`` of the others. Stats of the
            last layer: ``cardinality_error`` (images' mean), ``class_error`` in %, ``targets``, ``matched``,
            ``surplus`` (targets beyond the number of queries), ``broken`` (non-finite pairs), ``ignored`` queries,
            ``mean_iou``.

    Args:
        num_classes: without no object.
        assigner: HungarianAssigner, or any callable of (logits, boxes, targets) that gives a Matching. None for DETR's
            with softmax, Deformable DETR's otherwise.
        class_loss: module; cross entropy and softmax focal have a channel for no object; focal, varifocal, quality
            focal, IoU-aware BCE, MAL have not. None for cross entropy with `no_object_weight`.
        no_object_weight: class weight of no object in the default class loss; DETR's eos_coef.
        scores: soft class target of a matched query: 1 ("hard"), or the IoU of its box ("iou").
        class_weight, l1_weight, giou_weight, mask_weight, dice_weight: factors of the terms.
        mask_points: compare masks at so many points each, most of them where the model is unsure, instead of at all.
        groups: into how many groups the queries of all layers are split (Group DETR), each matched by itself.
        ignore_coverage: an unmatched query of whose box an ignore region covers this fraction costs nothing.
        rotated_loss: module of boxes with an angle, in pixels, in the GIoU's place; None for ProbIoULoss.

    Raises:
        ValueError: missing outputs, shapes that do not fit, masks without targets of masks, on the CPU a label out of
            range.

    Reference:
        Carion et al. 2020, DETR, arXiv:2005.12872, eq. 2 and appendix A.2; Zhu et al. 2021, arXiv:2010.04159;
        Fang et al. 2021, YOLOS, arXiv:2106.00666; Zhao et al. 2024, RT-DETR, arXiv:2304.08069; for query sets
        arXiv:2203.03605 (DINO), arXiv:2207.13080 (H-DETR), arXiv:2207.13085 (Group DETR).

    Differs:
        W processes give the gradient of one on the whole batch: the floor of N stands before the division by W, and
        the sum of class weights is taken over ranks too (DETR: per rank; transformers divides by W twice). Padding is
        no part of a mask (DETR and transformers count it). Queries on crowds cost nothing (there: no object).
        Cardinality with sigmoids counts queries with a probability above 1/2 (DINO compares with the last class).

    Example:
        One object, three queries of uniform scores, the second of which is matched. Classes: (1 + 0.1 + 0.1) log 3 /
        1.2 = 1.099.

        >>> criterion = SetCriterion.detr(num_classes=2)
        >>> boxes = torch.tensor([[[0.9, 0.9, 0.2, 0.2], [0.5, 0.5, 0.2, 0.2], [0.6, 0.1, 0.2, 0.2]]])
        >>> target = {"boxes": torch.tensor([[0.5, 0.5, 0.4, 0.2]]), "labels": torch.tensor([1])}
        >>> loss = criterion({"logits": torch.zeros(1, 3, 3), "pred_boxes": boxes}, [target])
        >>> {name: round(term.item(), 3) for name, term in loss.terms.items()}
        {'class': 1.099, 'l1': 1.0, 'giou': 1.0}
    """

    def __init__(
        self,
        num_classes: int,
        *,
        assigner: HungarianAssigner | None = None,
        class_loss: nn.Module | None = None,
        no_object_weight: float = 0.1,
        scores: Scores = "hard",
        class_weight: float = 1.0,
        l1_weight: float = 5.0,
        giou_weight: float = 2.0,
        mask_weight: float = 1.0,
        dice_weight: float = 1.0,
        mask_points: int | None = None,
        groups: int = 1,
        ignore_coverage: float = 0.5,
        rotated_loss: nn.Module | None = None,
    ) -> None:
        super().__init__()
        check_positive(CALLER, "num_classes", num_classes)
        check_positive(CALLER, "groups", groups)
        check_option(CALLER, "scores", scores, ("hard", "iou"))
        if mask_points is not None:
            check_positive(CALLER, "mask_points", mask_points)
        if class_loss is None:
            class_loss = CrossEntropyLoss(class_weights=[1.0] * num_classes + [no_object_weight])
        exclusive = isinstance(class_loss, EXCLUSIVE_LOSSES)
        if assigner is None:
            assigner = HungarianAssigner.detr() if exclusive else HungarianAssigner.deformable_detr()
        _check_class_loss(class_loss, assigner, scores)
        self.num_classes, self.groups, self.ignore_coverage = num_classes, groups, ignore_coverage
        self.assigner = assigner
        self.class_loss = elementwise(class_loss)
        self.rotated_loss = elementwise(rotated_loss or ProbIoULoss())
        self.scores: Scores = scores
        self.mask_points = mask_points
        self.weights = {"class": class_weight, "l1": l1_weight, "giou": giou_weight, "rotated": giou_weight}
        self.weights |= {"mask": mask_weight, "dice": dice_weight}

    @classmethod
    def detr(cls, num_classes: int) -> "SetCriterion":
        """DETR: softmax with no object at 0.1, weights 1, 5, 2."""
        return cls(num_classes)

    @classmethod
    def yolos(cls, num_classes: int) -> "SetCriterion":
        """YOLOS: as DETR; all that differs is the model."""
        return cls(num_classes)

    @classmethod
    def deformable_detr(cls, num_classes: int) -> "SetCriterion":
        """Deformable DETR and DINO: focal loss, weights 2, 5, 2."""
        return cls(
            num_classes,
            assigner=HungarianAssigner.deformable_detr(),
            class_loss=SigmoidFocalLoss(),
            class_weight=2.0,
        )

    @classmethod
    def rtdetr(cls, num_classes: int) -> "SetCriterion":
        """RT-DETR: varifocal loss towards the IoU, weights 1, 5, 2."""
        return cls(
            num_classes,
            assigner=HungarianAssigner.deformable_detr(),
            class_loss=VarifocalLoss(alpha=0.75, gamma=2, positives="labels", detach=True),
            scores="iou",
        )

    def forward(
        self,
        outputs: Mapping[str, Any],
        targets: Targets | Sequence[Mapping[str, Tensor]],
        *,
        normalizer: Tensor | None = None,
    ) -> LossTerms:
        """Match all sets, compare, and divide once."""
        losses = [self._compare(named) for named in self._read(outputs, targets)]
        exclusive = isinstance(self.class_loss, EXCLUSIVE_LOSSES)
        terms: dict[str, Tensor] = {}
        for loss, (class_total, total) in zip(losses, divisors(losses, normalizer), strict=True):
            for name, sums in loss.sums.items():
                values = (
                    loss.weight * self.weights[name] * sums / (class_total if name == "class" and exclusive else total)
                )
                terms |= {name + suffix: value for suffix, value in zip(loss.suffixes, values.unbind(), strict=True)}
        stats = {**losses[0].stats, "broken": torch.stack([loss.stats["broken"] for loss in losses]).sum()}
        return LossTerms(torch.stack(list(terms.values())).sum(), terms, stats)

    @torch.no_grad()
    def match(self, outputs: Mapping[str, Any], targets: Targets | Sequence[Mapping[str, Tensor]]) -> Matching:
        """Which query of the last layer is trained on which target, ``(B, M)`` and ``(B, Q)``."""
        if self.groups > 1:
            raise ValueError(f"{CALLER}: expected groups=1 to match one set of queries, got {self.groups}")
        with_masks = isinstance(self.assigner, HungarianAssigner) and self.assigner.uses_masks
        names = ("logits", "pred_boxes", *(["pred_masks"] if with_masks else []))
        last = {name: outputs[name] for name in names if name in outputs}
        (named,) = self._read(last, targets)
        matching = match_set(self.assigner, named)
        return Matching(matching.query_of_target[0], matching.target_of_query[0], matching.stats)

    def _read(self, outputs: Mapping[str, Any], targets: Targets | Sequence[Mapping[str, Tensor]]) -> list[NamedSet]:
        sets = read_query_sets(CALLER, outputs, targets, self.groups)
        exclusive = isinstance(self.class_loss, EXCLUSIVE_LOSSES)
        wanted = self.num_classes + exclusive
        for named in sets:
            channels = named.queries.logits.shape[-1]
            if channels != wanted:
                no_object = ", the last for no object" if exclusive else ""
                raise ValueError(f"{CALLER}: expected {wanted} class logits{no_object}, got {channels}")
        return sets

    def _compare(self, named: NamedSet) -> SetLoss:
        """Match a set and sum its losses."""
        matching = match_set(self.assigner, named)
        rows = take_rows(named, matching)
        assignment = set_assignment(named, matching, rows, self.scores, self.ignore_coverage)
        classes, class_total = class_sums(self.class_loss, named, assignment)
        sums = {"class": classes, **box_sums(rows, self.rotated_loss), **self._masks(named, rows)}
        objects = (named.targets.valid & ~named.targets.ignore).sum()
        broken = matching.stats.get("broken", torch.zeros_like(objects))
        return SetLoss(
            {name: of_layers(values, named) for name, values in sums.items()},
            of_layers(class_total, named),
            objects.to(rows.weights.dtype) * named.queries.groups,
            named.queries.repeats * named.queries.groups,
            named.suffixes,
            named.queries.weight,
            {**set_stats(self.class_loss, named, assignment, rows), "broken": broken},
        )

    def _masks(self, named: NamedSet, rows: Rows) -> dict[str, Tensor]:
        masks, targets = named.queries.masks, named.targets
        if masks is None or targets.masks is None:
            return {}
        of_rows, weights = targets.masks, targets.weights
        if named.queries.target_of_query is not None:  # a row a query, the same ones in all layers
            of_rows, weights = take(of_rows.unsqueeze(0), rows.target[:1])[0], rows.weights[0]
        focal, dice = mask_sums(
            take(masks, rows.query), of_rows, rows.real, weights, targets.pixels, points=self.mask_points
        )
        return {"mask": focal, "dice": dice}

    def extra_repr(self) -> str:
        """What is trained; the class loss prints itself."""
        options = ("num_classes", "assigner", "weights", "scores", "mask_points", "groups", "ignore_coverage")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in options)


def _check_class_loss(class_loss: nn.Module, assigner: object, scores: Scores) -> None:
    exclusive, name = isinstance(class_loss, EXCLUSIVE_LOSSES), type(class_loss).__name__
    if exclusive and scores != "hard":
        raise ValueError(f"{CALLER}: expected scores='hard' for exclusive classes, those of {name}, got {scores!r}")
    # The cost would take the last class for no object.
    if not exclusive and isinstance(assigner, HungarianAssigner) and assigner.class_cost == "softmax":
        raise ValueError(f"{CALLER}: expected an assigner with class_cost='focal' beside {name}, got 'softmax'")
