"""Focal loss with a sigmoid: :func:`sigmoid_focal_loss`."""

import torch
from torch import Tensor

from .._core import LossModule, Reduction, check_float, check_positive, reduce_loss, to_compute, use_fast_path
from ._binary_inputs import read_binary_inputs
from ._class_inputs import labelled
from ._focal_family import reduce_elements, reduce_rows, sum_rows, takes_dense, takes_labels
from ._focal_rows import focal_rows
from ._focal_term import focal_term
from ._focus import Focus


def sigmoid_focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    scores: Tensor | None = None,
    alpha: float | None = 0.25,
    gamma: float = 2.0,
    ignore_index: int | None = -100,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Binary cross entropy that turns down the easy examples.

        L = -α_t (1 - p_t)^γ log p_t,   p_t = p for t = 1 and 1 - p for t = 0,   α_t = α and 1 - α likewise

    For dense detectors, where background outnumbers objects a thousand to one. A larger γ, not a smaller one, favours
    the hard examples; γ = 0 leaves the α-balanced cross entropy, `alpha=None` leaves the focusing alone. Detectors sum
    and divide by the number of positives: use `reduction="sum"` and divide.

    Shapes:
        logits: (*), or (*, C) with labels; any float dtype.
        targets: (*) floats in [0, 1], or (*) integer labels for (*, C) logits, -1 = background; no one-hot is needed.
        scores: (*) floats beside labels, the soft target of the labelled class; 1 where not given.
        returns: () or, with reduction "none", the shape of the logits, float32 (float64 for float64).

    Args:
        alpha: weight of the positives, 1 - alpha that of the negatives; None for no weighting.
        gamma: focusing exponent, >= 0.
        ignore_index: label whose row does not count; None to have no such label.
        mask: bool, broadcastable to the logits, False = leave out.
        weights: factor per element, broadcastable to the logits; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid elements, classes included; nothing valid gives 0.

    Raises:
        ValueError: shapes that do not fit, alpha outside [0, 1], a negative gamma, on the CPU a label out of range.

    Reference:
        Lin et al. 2017, arXiv:1708.02002, eq. 5.

    Differs:
        Same values as torchvision's and fvcore's, which switch alpha off by -1 and default to no reduction; 1 - p_t
        is never formed by subtraction, so that tails are exact and gradients stay finite for gamma < 1 at saturated
        logits, where theirs are NaN.

    Example:
        An easy negative (p = 0.018) beside a hard positive of the same logit:

        >>> sigmoid_focal_loss(torch.tensor([-4.0, -4.0]), torch.tensor([0.0, 1.0]), reduction="none")
        tensor([4.4037e-06, 9.6873e-01])

        Labels instead of dense targets: one box of class 1, one of background.

        >>> sigmoid_focal_loss(torch.zeros(2, 3), torch.tensor([1, -1]))
        tensor(0.1155)
    """
    if alpha is not None and not 0 <= alpha <= 1:
        raise ValueError(f"sigmoid_focal_loss: expected alpha in [0, 1] or None, got {alpha}")
    check_positive("sigmoid_focal_loss", "gamma", gamma, or_zero=True)
    focus = Focus("focal", alpha, gamma)
    if takes_labels(logits, targets, scores, mask, weights, reduction):
        rows = sum_rows(logits, targets, scores, None, focus, ignore_index)
        return reduce_rows("sigmoid_focal_loss", rows, logits, targets, ignore_index, reduction)
    if takes_dense(logits, targets, scores, mask, weights):
        return reduce_elements("sigmoid_focal_loss", logits, targets, focus, reduction)
    bare = scores is None and mask is None and weights is None and reduction != "none"
    if bare and targets.shape == logits.shape[:-1] and use_fast_path():
        return _sum_of_labels(logits, targets, alpha, gamma, ignore_index, reduction)
    inputs = read_binary_inputs(
        "sigmoid_focal_loss",
        logits,
        targets,
        scores=scores,
        ignore_index=ignore_index,
        mask=mask,
        weights=weights,
    )
    loss = focal_term(inputs.logits, inputs.targets, alpha, gamma)
    return reduce_loss("sigmoid_focal_loss", loss, reduction, valid=inputs.valid, weights=inputs.weights)


def _sum_of_labels(
    logits: Tensor, labels: Tensor, alpha: float | None, gamma: float, ignore_index: int | None, reduction: Reduction
) -> Tensor:
    """Labels whose elements nobody asks for one by one: summed over classes without a dense target."""
    check_float("sigmoid_focal_loss", "logits", logits)
    classes = logits.shape[-1]
    valid = labelled("sigmoid_focal_loss", labels, classes, ignore_index, lowest=-1)
    labels = labels.long() if valid is None else torch.where(valid, labels, -1).long()
    flat_valid = None if valid is None else valid.flatten()
    rows = focal_rows(to_compute(logits).reshape(labels.numel(), classes), labels.flatten(), flat_valid, alpha, gamma)
    counted = labels.new_full((), labels.numel()) if valid is None else valid.sum()
    return reduce_loss("sigmoid_focal_loss", rows, reduction, valid=flat_valid, total=counted * classes)


class SigmoidFocalLoss(LossModule):
    """Module form of :func:`sigmoid_focal_loss`."""

    def __init__(
        self,
        *,
        alpha: float | None = 0.25,
        gamma: float = 2.0,
        ignore_index: int | None = -100,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.gamma = gamma
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
        return sigmoid_focal_loss(
            logits,
            targets,
            scores=scores,
            alpha=self.alpha,
            gamma=self.gamma,
            ignore_index=self.ignore_index,
            mask=mask,
            weights=weights,
            reduction=self.reduction,
        )

    def row_sums(self, logits: Tensor, labels: Tensor, scores: Tensor, valid: Tensor) -> Tensor:
        """Sum over the classes on a GPU; see `SumsRows`."""
        return sum_rows(logits, labels, scores, valid, Focus("focal", self.alpha, self.gamma), self.ignore_index)
