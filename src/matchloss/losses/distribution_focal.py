"""Distribution focal loss: :func:`distribution_focal_loss`."""

from torch import Tensor

from .._core import (
    LossModule,
    Reduction,
    check_float,
    check_mask,
    compute_dtype,
    expand_to,
    keep_valid,
    reduce_loss,
    to_compute,
)


def distribution_focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross entropy of a number that is predicted as a distribution over the integers 0, 1, ..., bins - 1.

        L = -((i + 1 - t) log p_i + (t - i) log p_{i+1}),   i = floor(t),   p = softmax(logits)

    For box sides predicted as distributions, whose expectation is the distance: both neighbours of the target are
    raised, the nearer one more, so the distribution stays narrow. It does not say how well the box fits; add
    :func:`giou_loss` of the expected box. Its minimum is the entropy of the target's own split, not 0.

    Shapes:
        logits: (*, bins), any float dtype, bins >= 2.
        targets: (*), in bins: the distance divided by the stride; clamped to [0, bins - 1].
        returns: () or, with reduction "none", (*), float32 (float64 for float64).

    Args:
        mask: (*) bool, broadcastable, False = leave out.
        weights: (*) factor per element, broadcastable; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid elements, the four sides included; nothing valid gives 0.

    Raises:
        ValueError: shapes that do not fit, a single bin.

    Reference:
        Li et al. 2020, arXiv:2006.04388, eq. 6.

    Differs:
        A target at the last bin trains that bin, and one beyond it counts as at it; the caller's tensor is left
        alone. mmdetection raises there; Ultralytics writes targets clamped to bins - 1.01 into the caller's tensor and
        averages the four sides of a box: `reduction="none"`, then ``.mean(-1)``.

    Example:
        Three bins of equal probability and a target halfway between two: log 3. A target on the last bin, predicted
        almost surely, costs almost nothing, and so does one beyond it.

        >>> distribution_focal_loss(torch.zeros(3), torch.tensor(0.5))
        tensor(1.0986)
        >>> logits = torch.tensor([[0.0, 0.0, 9.0], [0.0, 0.0, 9.0]])
        >>> distribution_focal_loss(logits, torch.tensor([2.0, 7.0]), reduction="none")
        tensor([0.0002, 0.0002])
    """
    caller = "distribution_focal_loss"
    check_float(caller, "logits", logits)
    check_mask(caller, mask)
    if logits.ndim == 0 or logits.shape[-1] < 2:
        raise ValueError(f"{caller}: expected (*, bins) logits with bins >= 2, got shape {tuple(logits.shape)}")
    if targets.shape != logits.shape[:-1]:
        expected, got = tuple(logits.shape[:-1]), tuple(targets.shape)
        raise ValueError(f"{caller}: expected targets of shape {expected} (logits without bins), got {got}")
    valid = None if mask is None else expand_to(caller, "mask", mask, targets)
    last = logits.shape[-1] - 1
    targets = keep_valid(targets.to(compute_dtype(logits)), valid).clamp(0, last)
    # The last bin is a right neighbour only. The second clamp is for a NaN target, which must not become a wild index.
    left = targets.detach().floor().long().clamp(0, last - 1)
    from_left = targets - left
    log_probs = keep_valid(to_compute(logits), None if valid is None else valid.unsqueeze(-1)).log_softmax(-1)
    log_left = log_probs.gather(-1, left.unsqueeze(-1)).squeeze(-1)
    log_right = log_probs.gather(-1, left.unsqueeze(-1) + 1).squeeze(-1)
    loss = -((1 - from_left) * log_left + from_left * log_right)
    return reduce_loss(caller, loss, reduction, valid=valid, weights=weights)


class DistributionFocalLoss(LossModule):
    """Module form of :func:`distribution_focal_loss`."""

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction: Reduction = reduction

    def forward(
        self, logits: Tensor, targets: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return distribution_focal_loss(logits, targets, mask=mask, weights=weights, reduction=self.reduction)
