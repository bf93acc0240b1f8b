"""Focal loss towards a quality in [0, 1]: :func:`quality_focal_loss`."""

from torch import Tensor

from .._core import LossModule, Reduction, check_positive, reduce_loss
from ._binary_inputs import read_binary_inputs
from ._focal_family import reduce_elements, reduce_rows, sum_rows, takes_dense, takes_labels
from ._focus import Focus, plain_term


def quality_focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    scores: Tensor | None = None,
    beta: float = 2.0,
    ignore_index: int | None = -100,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Binary cross entropy towards a soft target, turned down where the prediction is already near it.

        L = |t - p|^β (-t log p - (1 - t) log(1 - p)),   p = sigmoid(logits)

    For detectors whose class score says how well the box fits: the target of the right class is the IoU of the box,
    detached (else the box learns to please the class). Its least value is 0, at p = t, which neither the plain cross
    entropy nor :func:`sigmoid_focal_loss` have for soft targets. :func:`varifocal_loss` does not turn down positives.

    Shapes:
        logits: (*), or (*, C) with labels; any float dtype.
        targets: (*) floats in [0, 1], or (*) integer labels for (*, C) logits, -1 = background.
        scores: (*) floats beside labels, the quality of the labelled class; 1 where not given.
        returns: () or, with reduction "none", the shape of the logits, float32 (float64 for float64).

    Args:
        beta: focusing exponent, >= 0; 0 leaves the cross entropy.
        ignore_index: label whose row does not count; None to have no such label.
        mask: bool, broadcastable to the logits, False = leave out.
        weights: factor per element, broadcastable to the logits; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid elements, classes included; nothing valid gives 0.

    Raises:
        ValueError: shapes that do not fit, a negative beta, on the CPU a label out of range.

    Reference:
        Li et al. 2020, arXiv:2006.04388, eq. 2.

    Differs:
        mmdetection sums over the classes and averages over the anchors: multiply `mean` by C, or use "sum" and divide.
        Its label for background is C; here it is -1. pytorch-toolbelt averages over all elements, as here. The gradient
        flows through |t - p|^β, as in mmdetection.

    Example:
        p = 1/2 towards 1: (1/2)² log 2 = 0.1733. Towards 1/2 it is 0, where the cross entropy would be log 2.

        >>> quality_focal_loss(torch.zeros(2), torch.tensor([1.0, 0.5]), reduction="none")
        tensor([0.1733, 0.0000])

        Labels with scores: a box of class 1 that fits half, and one of background.

        >>> quality_focal_loss(torch.zeros(2, 2), torch.tensor([1, -1]), scores=torch.tensor([0.5, 0.0]))
        tensor(0.1300)
    """
    check_positive("quality_focal_loss", "beta", beta, or_zero=True)
    focus = Focus("quality", None, beta)
    if takes_labels(logits, targets, scores, mask, weights, reduction):
        rows = sum_rows(logits, targets, scores, None, focus, ignore_index)
        return reduce_rows("quality_focal_loss", rows, logits, targets, ignore_index, reduction)
    if takes_dense(logits, targets, scores, mask, weights):
        return reduce_elements("quality_focal_loss", logits, targets, focus, reduction)
    inputs = read_binary_inputs(
        "quality_focal_loss",
        logits,
        targets,
        scores=scores,
        ignore_index=ignore_index,
        mask=mask,
        weights=weights,
    )
    loss = plain_term(inputs.logits, inputs.targets, focus)
    return reduce_loss("quality_focal_loss", loss, reduction, valid=inputs.valid, weights=inputs.weights)


class QualityFocalLoss(LossModule):
    """Module form of :func:`quality_focal_loss`."""

    def __init__(
        self,
        *,
        beta: float = 2.0,
        ignore_index: int | None = -100,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.beta = beta
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
        return quality_focal_loss(
            logits,
            targets,
            scores=scores,
            beta=self.beta,
            ignore_index=self.ignore_index,
            mask=mask,
            weights=weights,
            reduction=self.reduction,
        )

    def row_sums(self, logits: Tensor, labels: Tensor, scores: Tensor, valid: Tensor) -> Tensor:
        """Sum over the classes on a GPU; see `SumsRows`."""
        return sum_rows(logits, labels, scores, valid, Focus("quality", None, self.beta), self.ignore_index)
