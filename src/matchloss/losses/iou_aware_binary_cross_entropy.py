"""The class score learns to tell how well its box fits: :func:`iou_aware_binary_cross_entropy_loss`."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .._core import LossModule, Reduction, check_positive, reduce_loss, to_compute
from ._binary_inputs import positive_elements, read_binary_inputs
from ._focal_family import reduce_rows, sum_rows, takes_labels
from ._focus import Focus, plain_term


def iou_aware_binary_cross_entropy_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    scores: Tensor | None = None,
    alpha: float = 0.25,
    gamma: float = 2.0,
    floor: float = 0.01,
    ignore_index: int | None = -100,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Binary cross entropy of matched queries towards a mix of their own probability and their IoU; others focused.

        L = -t log p - (1 - t) log(1 - p) where matched, t = max(p^α q^(1 - α), floor), else -p^γ log(1 - p)

    For detectors that match each object with one query (IA-BCE, of Align-DETR, LW-DETR and RF-DETR). The target follows
    the score part of the way, so that it is reached: :func:`quality_focal_loss` and :func:`matchability_aware_loss` ask
    for the IoU whatever the score. The target is a constant for the gradient. Its least value is not 0.

    Shapes:
        logits: (*), or (*, C) with labels; any float dtype.
        targets: (*) floats in [0, 1], matched where above 0, or (*) integer labels for (*, C) logits, -1 = background.
        scores: (*) floats beside labels, the IoU q of the matched box; 1 where not given. One of IoU 0 is matched too.
        returns: () or, with reduction "none", the shape of the logits, float32 (float64 for float64).

    Args:
        alpha: share of the probability in the target, in [0, 1]; 0 asks for the IoU alone.
        gamma: focusing exponent of the negatives, >= 0.
        floor: least target of a match, in [0, 1], so that no object is given up.
        ignore_index: label whose row does not count; None to have no such label.
        mask: bool, broadcastable to the logits, False = leave out.
        weights: factor per element, broadcastable to the logits; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid elements, classes included; nothing valid gives 0.

    Raises:
        ValueError: shapes that do not fit, an alpha or a floor outside [0, 1], a negative gamma, on the CPU a label out
            of range.

    Reference:
        Cai et al. 2023, arXiv:2304.07527, section on the IoU-aware classification loss; Chen et al. 2024,
        arXiv:2406.03459, the classification loss.

    Differs:
        Same values and gradients as LW-DETR's code and transformers, where a sum over the number of boxes takes the
        place of the mean, except that they take the log of a probability: where it rounds to 1 (logits beyond 17 in
        float32) theirs is infinite. Align-DETR also weighs the matches of one object by their rank; `weights` can.

    Example:
        A match of IoU 1/2 at p = 1/2 has the target 1/2; a negative there costs (1/2)² log 2 = 0.1733.

        >>> iou_aware_binary_cross_entropy_loss(torch.zeros(2), torch.tensor([0.5, 0.0]), reduction="none")
        tensor([0.6931, 0.1733])
    """
    for name, value in (("alpha", alpha), ("floor", floor)):
        if not 0 <= value <= 1:
            raise ValueError(f"iou_aware_binary_cross_entropy_loss: expected {name} in [0, 1], got {value}")
    check_positive("iou_aware_binary_cross_entropy_loss", "gamma", gamma, or_zero=True)
    if takes_labels(logits, targets, scores, mask, weights, reduction):
        rows = _row_sums(logits, targets, scores, None, alpha, gamma, floor, ignore_index)
        return reduce_rows("iou_aware_binary_cross_entropy_loss", rows, logits, targets, ignore_index, reduction)
    inputs = read_binary_inputs(
        "iou_aware_binary_cross_entropy_loss",
        logits,
        targets,
        scores=scores,
        ignore_index=ignore_index,
        mask=mask,
        weights=weights,
    )
    positive = positive_elements(logits, targets)
    mixed = _mixed_target(inputs.logits.detach(), inputs.targets.detach(), alpha, floor)
    target = torch.where(positive, mixed, 0.0)
    loss = plain_term(inputs.logits, target, Focus("matched", None, gamma), positive)
    return reduce_loss(
        "iou_aware_binary_cross_entropy_loss", loss, reduction, valid=inputs.valid, weights=inputs.weights
    )


def _mixed_target(logits: Tensor, quality: Tensor, alpha: float, floor: float) -> Tensor:
    """``max(p^α q^(1 - α), floor)``; the power of a probability too small for its dtype is taken of its log."""
    return ((alpha * F.logsigmoid(logits)).exp() * quality.clamp(min=0) ** (1 - alpha)).clamp(min=floor)


@torch.no_grad()
def _targets_of_labels(logits: Tensor, labels: Tensor, scores: Tensor | None, alpha: float, floor: float) -> Tensor:
    """What each labelled class is asked for; anything where there is none."""
    index = labels.long().clamp(0, logits.shape[-1] - 1).unsqueeze(-1)
    at_label = to_compute(logits.gather(-1, index).squeeze(-1))
    return _mixed_target(at_label, torch.ones_like(at_label) if scores is None else scores.float(), alpha, floor)


def _row_sums(
    logits: Tensor,
    labels: Tensor,
    scores: Tensor | None,
    valid: Tensor | None,
    alpha: float,
    gamma: float,
    floor: float,
    ignore_index: int | None,
) -> Tensor:
    """On a GPU."""
    mixed = _targets_of_labels(logits, labels, scores, alpha, floor)
    return sum_rows(logits, labels, mixed, valid, Focus("matched", None, gamma), ignore_index)


class IoUAwareBinaryCrossEntropyLoss(LossModule):
    """Module form of :func:`iou_aware_binary_cross_entropy_loss`."""

    def __init__(
        self,
        *,
        alpha: float = 0.25,
        gamma: float = 2.0,
        floor: float = 0.01,
        ignore_index: int | None = -100,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.gamma = gamma
        self.floor = floor
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction

    def forward(
        self,
        logits: Tensor,
        targets: Tensor,
        *,
        scores: Tensor | None = None,
        mask: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Compute the loss."""
        return iou_aware_binary_cross_entropy_loss(
            logits,
            targets,
            scores=scores,
            alpha=self.alpha,
            gamma=self.gamma,
            floor=self.floor,
            ignore_index=self.ignore_index,
            mask=mask,
            weights=weights,
            reduction=self.reduction,
        )

    def row_sums(self, logits: Tensor, labels: Tensor, scores: Tensor, valid: Tensor) -> Tensor:
        """Sum over the classes on a GPU; see `SumsRows`."""
        return _row_sums(logits, labels, scores, valid, self.alpha, self.gamma, self.floor, self.ignore_index)
