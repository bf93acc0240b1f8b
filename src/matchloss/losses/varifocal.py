"""Focal loss for the negatives, quality weight for the positives: :func:`varifocal_loss`."""

from typing import Literal

from torch import Tensor

from .._core import LossModule, Reduction, check_option, check_positive, reduce_loss
from ._binary_inputs import positive_elements, read_binary_inputs
from ._focal_family import hide_worthless, reduce_elements, reduce_rows, sum_rows, takes_dense, takes_labels
from ._focus import Focus, plain_term

Positives = Literal["scores", "labels"]


def varifocal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    scores: Tensor | None = None,
    alpha: float | None = 0.75,
    gamma: float = 2.0,
    positives: Positives = "scores",
    detach: bool = False,
    ignore_index: int | None = -100,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Binary cross entropy towards a quality: negatives focused, positives weighed by their quality.

        L = w (-t log p - (1 - t) log(1 - p)),   w = t where t > 0, else α p^γ

    For detectors that rank boxes by their fit, as VarifocalNet, PP-YOLOE and RT-DETR do: the target of the right class
    is the IoU of the box, detached. Good boxes pull more than bad ones, and no positive is turned down for being easy,
    as :func:`quality_focal_loss` does. At soft targets its least value is not 0.

    Shapes:
        logits: (*), or (*, C) with labels; any float dtype.
        targets: (*) floats in [0, 1], or (*) integer labels for (*, C) logits, -1 = background.
        scores: (*) floats beside labels, the quality of the labelled class; 1 where not given.
        returns: () or, with reduction "none", the shape of the logits, float32 (float64 for float64).

    Args:
        alpha: factor of the negatives; None for none.
        gamma: focusing exponent of the negatives, >= 0.
        positives: what makes an element a positive. "scores": a target above 0. "labels": being the labelled class, so
            that a matched box of IoU 0 has weight 0 instead of being pushed down as a negative; wants labels.
        detach: whether the weight p^γ is a constant for the gradient.
        ignore_index: label whose row does not count; None to have no such label.
        mask: bool, broadcastable to the logits, False = leave out.
        weights: factor per element, broadcastable to the logits; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid elements, classes included; nothing valid gives 0.

    Raises:
        ValueError: shapes that do not fit, a negative alpha or gamma, positives="labels" with dense targets, on the
            CPU a label out of range.

    Reference:
        Zhang et al. 2021, arXiv:2008.13367, eq. 2.

    Differs:
        The defaults are the paper's and mmdetection's (whose |p - t|^γ is p^γ on negatives). `positives="labels"` is
        Ultralytics'; with `detach=True` too it is RT-DETR's, in the authors' code and in transformers, where a sum
        over the number of boxes takes the place of the mean.

    Example:
        A negative at p = 1/2: 0.75 (1/2)² log 2 = 0.1300. A positive of quality 1/2 there: (1/2) log 2 = 0.3466.

        >>> varifocal_loss(torch.zeros(2), torch.tensor([0.0, 0.5]), reduction="none")
        tensor([0.1300, 0.3466])

        A matched box that does not overlap, quality 0: a negative for the paper, nothing for RT-DETR.

        >>> label, score = torch.tensor([0]), torch.tensor([0.0])
        >>> varifocal_loss(torch.zeros(1, 1), label, scores=score)
        tensor(0.1300)
        >>> varifocal_loss(torch.zeros(1, 1), label, scores=score, positives="labels", detach=True)
        tensor(0.)
    """
    if alpha is not None:
        check_positive("varifocal_loss", "alpha", alpha, or_zero=True)
    check_positive("varifocal_loss", "gamma", gamma, or_zero=True)
    check_option("varifocal_loss", "positives", positives, ("scores", "labels"))
    if positives == "labels" and targets.shape == logits.shape:
        raise ValueError("varifocal_loss: expected integer labels with positives='labels', got dense targets")
    focus = Focus("varifocal", alpha, gamma, detach)
    if takes_labels(logits, targets, scores, mask, weights, reduction):
        rows = _row_sums(logits, targets, scores, None, focus, positives, ignore_index)
        return reduce_rows("varifocal_loss", rows, logits, targets, ignore_index, reduction)
    if takes_dense(logits, targets, scores, mask, weights):
        return reduce_elements("varifocal_loss", logits, targets, focus, reduction)
    inputs = read_binary_inputs(
        "varifocal_loss", logits, targets, scores=scores, ignore_index=ignore_index, mask=mask, weights=weights
    )
    positive = inputs.targets > 0 if positives == "scores" else positive_elements(logits, targets)
    loss = plain_term(inputs.logits, inputs.targets, focus, positive)
    return reduce_loss("varifocal_loss", loss, reduction, valid=inputs.valid, weights=inputs.weights)


def _row_sums(
    logits: Tensor,
    labels: Tensor,
    scores: Tensor | None,
    valid: Tensor | None,
    focus: Focus,
    positives: Positives,
    ignore_index: int | None,
) -> Tensor:
    """On a GPU."""
    if positives == "scores":
        labels = hide_worthless(labels, scores)
    return sum_rows(logits, labels, scores, valid, focus, ignore_index)


class VarifocalLoss(LossModule):
    """Module form of :func:`varifocal_loss`."""

    def __init__(
        self,
        *,
        alpha: float | None = 0.75,
        gamma: float = 2.0,
        positives: Positives = "scores",
        detach: bool = False,
        ignore_index: int | None = -100,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.gamma = gamma
        self.positives: Positives = positives
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
        return varifocal_loss(
            logits,
            targets,
            scores=scores,
            alpha=self.alpha,
            gamma=self.gamma,
            positives=self.positives,
            detach=self.detach,
            ignore_index=self.ignore_index,
            mask=mask,
            weights=weights,
            reduction=self.reduction,
        )

    def row_sums(self, logits: Tensor, labels: Tensor, scores: Tensor, valid: Tensor) -> Tensor:
        """Sum over the classes on a GPU; see `SumsRows`."""
        focus = Focus("varifocal", self.alpha, self.gamma, self.detach)
        return _row_sums(logits, labels, scores, valid, focus, self.positives, self.ignore_index)
