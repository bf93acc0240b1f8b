"""Matches of every quality count, the poor ones too: :func:`matchability_aware_loss`."""

from torch import Tensor

from .._core import LossModule, Reduction, check_positive, reduce_loss
from ._binary_inputs import positive_elements, read_binary_inputs
from ._focal_family import reduce_rows, sum_rows, takes_labels
from ._focus import Focus, plain_term


def matchability_aware_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    scores: Tensor | None = None,
    alpha: float | None = None,
    gamma: float = 1.5,
    detach: bool = True,
    ignore_index: int | None = -100,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Binary cross entropy of matched queries towards a power of their IoU, at full weight; of the others, focused.

        L = -q^γ log p - (1 - q^γ) log(1 - p) where matched, else -α p^γ log(1 - p)

    For detectors that match each object with one query, good or bad (MAL, of DEIM). There :func:`varifocal_loss` weighs
    a match by its IoU q and so hardly looks at poor ones; here a poor match of high confidence is pushed down with full
    weight. At soft targets its least value is not 0.

    Shapes:
        logits: (*), or (*, C) with labels; any float dtype.
        targets: (*) floats in [0, 1], matched where above 0, or (*) integer labels for (*, C) logits, -1 = background.
        scores: (*) floats beside labels, the IoU q of the matched box; 1 where not given. One of IoU 0 is matched too.
        returns: () or, with reduction "none", the shape of the logits, float32 (float64 for float64).

    Args:
        alpha: factor of the negatives; None for none.
        gamma: exponent of the IoU and focusing exponent of the negatives, > 0.
        detach: whether the weight p^γ is a constant for the gradient.
        ignore_index: label whose row does not count; None to have no such label.
        mask: bool, broadcastable to the logits, False = leave out.
        weights: factor per element, broadcastable to the logits; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid elements, classes included; nothing valid gives 0.

    Raises:
        ValueError: shapes that do not fit, a negative alpha, a gamma not above 0, on the CPU a label out of range.

    Reference:
        Huang et al. 2025, arXiv:2412.04234, section 3.3.

    Differs:
        Same values and gradients as the authors' code and transformers, where a sum over the number of boxes takes the
        place of the mean; the paper does not say whether p^γ has a gradient, their code says no.

    Example:
        A match of IoU 1/4 that is sure of itself (p = 0.982): MAL sees it, the varifocal loss hardly does.

        >>> from matchloss.losses import varifocal_loss
        >>> logits, targets = torch.tensor([4.0]), torch.tensor([0.25])
        >>> matchability_aware_loss(logits, targets), varifocal_loss(logits, targets)
        (tensor(3.5181), tensor(0.7545))
    """
    if alpha is not None:
        check_positive("matchability_aware_loss", "alpha", alpha, or_zero=True)
    check_positive("matchability_aware_loss", "gamma", gamma)
    focus = Focus("matched", alpha, gamma, detach)
    if takes_labels(logits, targets, scores, mask, weights, reduction):
        rows = _row_sums(logits, targets, scores, None, focus, ignore_index)
        return reduce_rows("matchability_aware_loss", rows, logits, targets, ignore_index, reduction)
    inputs = read_binary_inputs(
        "matchability_aware_loss", logits, targets, scores=scores, ignore_index=ignore_index, mask=mask, weights=weights
    )
    positive = positive_elements(logits, targets)
    loss = plain_term(inputs.logits, inputs.targets.clamp(min=0) ** gamma, focus, positive)
    return reduce_loss("matchability_aware_loss", loss, reduction, valid=inputs.valid, weights=inputs.weights)


def _row_sums(
    logits: Tensor,
    labels: Tensor,
    scores: Tensor | None,
    valid: Tensor | None,
    focus: Focus,
    ignore_index: int | None,
) -> Tensor:
    """On a GPU."""
    powers = None if scores is None else scores.float().clamp(min=0) ** focus.gamma
    return sum_rows(logits, labels, powers, valid, focus, ignore_index)


class MatchabilityAwareLoss(LossModule):
    """Module form of :func:`matchability_aware_loss`."""

    def __init__(
        self,
        *,
        alpha: float | None = None,
        gamma: float = 1.5,
        detach: bool = True,
        ignore_index: int | None = -100,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.gamma = gamma
        self.detach = detach
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
        return matchability_aware_loss(
            logits,
            targets,
            scores=scores,
            alpha=self.alpha,
            gamma=self.gamma,
            detach=self.detach,
            ignore_index=self.ignore_index,
            mask=mask,
            weights=weights,
            reduction=self.reduction,
        )

    def row_sums(self, logits: Tensor, labels: Tensor, scores: Tensor, valid: Tensor) -> Tensor:
        """Sum over the classes on a GPU; see `SumsRows`."""
        focus = Focus("matched", self.alpha, self.gamma, self.detach)
        return _row_sums(logits, labels, scores, valid, focus, self.ignore_index)
