"""Cross entropy of yes-or-no questions: :func:`binary_cross_entropy_loss`."""

from collections.abc import Sequence

from torch import Tensor

from .._core import LossModule, Reduction, as_buffer, expand_to, reduce_loss
from ._binary_cross_entropy import element_losses, reduced_sum, takes_sum
from ._binary_inputs import read_binary_inputs
from ._focal_family import reduce_elements, reduce_rows, sum_rows, takes_dense, takes_labels
from ._focus import Focus


def binary_cross_entropy_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    scores: Tensor | None = None,
    pos_weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = -100,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Negative log likelihood of independent yes-or-no questions under a sigmoid.

        L = -w t log p - (1 - t) log(1 - p),   p = sigmoid(logits)

    For several labels at once, one foreground class, or detectors with a soft target per class. Classes that exclude
    each other belong in :func:`cross_entropy_loss`. Where negatives swamp positives, weigh (`pos_weight`), balance
    (:func:`balanced_binary_cross_entropy_loss`) or focus (:func:`sigmoid_focal_loss`).

    Shapes:
        logits: (*), or (*, C) with labels; any float dtype.
        targets: (*) floats in [0, 1], or (*) integer labels for (*, C) logits, -1 = background; no one-hot is needed.
        scores: (*) floats beside labels, the soft target of the labelled class; 1 where not given.
        returns: () or, with reduction "none", the shape of the logits, float32 (float64 for float64).

    Args:
        pos_weight: factor w of the positive term, broadcastable to the logits. Classes last, as labels have them:
            (C,) is one factor per class of (*, C) logits, () one for all; (N, C, H, W) logits want (C, 1, 1).
        label_smoothing: e in [0, 1]; the target becomes t (1 - e) + e / 2.
        ignore_index: label whose row does not count; None to have no such label.
        mask: bool, broadcastable to the logits, False = leave out.
        weights: factor per element, broadcastable to the logits; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid elements, classes included; nothing valid gives 0.

    Raises:
        ValueError: shapes that do not fit, label_smoothing outside [0, 1], on the CPU a label out of range.

    Reference:
        Bishop 2006, Pattern Recognition and Machine Learning, eq. 4.90.

    Differs:
        Equal to ``torch.nn.functional.binary_cross_entropy_with_logits``, which has no labels, mask or smoothing and
        returns NaN on empty input. Smoothing is Keras' (e / 2); segmentation_models_pytorch writes
        t (1 - s) + (1 - t) s, which is e = 2 s. mmdetection and segmentation_models_pytorch keep ignored elements in
        the divisor of the mean by default; here they are out of it.

    Example:
        Logit 0 is p = 1/2, and -log 1/2 = 0.6931; a positive counts three times as much:

        >>> binary_cross_entropy_loss(torch.zeros(2), torch.tensor([0.0, 1.0]), reduction="none")
        tensor([0.6931, 0.6931])
        >>> w = torch.tensor(3.0)
        >>> binary_cross_entropy_loss(torch.zeros(2), torch.tensor([0.0, 1.0]), pos_weight=w, reduction="none")
        tensor([0.6931, 2.0794])

        Labels with a soft score: the first box is of class 1 with target 0.8, the second is background.

        >>> labels, scores = torch.tensor([1, -1]), torch.tensor([0.8, 0.0])
        >>> binary_cross_entropy_loss(torch.tensor([[-9.0, 9.0], [-9.0, -9.0]]), labels, scores=scores, reduction="sum")
        tensor(1.8005)
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"binary_cross_entropy_loss: expected label_smoothing in [0, 1], got {label_smoothing}")
    focus = Focus("focal", None, 0.0)
    if pos_weight is None and label_smoothing == 0:
        if takes_labels(logits, targets, scores, mask, weights, reduction):
            rows = sum_rows(logits, targets, scores, None, focus, ignore_index)
            return reduce_rows("binary_cross_entropy_loss", rows, logits, targets, ignore_index, reduction)
        if takes_dense(logits, targets, scores, mask, weights):
            return reduce_elements("binary_cross_entropy_loss", logits, targets, focus, reduction)
        if takes_sum(logits, targets, scores, mask, weights, reduction):
            return reduced_sum("binary_cross_entropy_loss", logits, targets, scores, ignore_index, reduction)
    inputs = read_binary_inputs(
        "binary_cross_entropy_loss",
        logits,
        targets,
        scores=scores,
        ignore_index=ignore_index,
        mask=mask,
        weights=weights,
    )
    if pos_weight is not None:
        pos_weight = expand_to("binary_cross_entropy_loss", "pos_weight", pos_weight.to(inputs.logits), logits)
    smoothed = inputs.targets
    if label_smoothing > 0:
        smoothed = smoothed * (1 - label_smoothing) + label_smoothing / 2
    loss = element_losses(inputs.logits, smoothed, pos_weight)
    return reduce_loss("binary_cross_entropy_loss", loss, reduction, valid=inputs.valid, weights=inputs.weights)


class BinaryCrossEntropyLoss(LossModule):
    """Module form of :func:`binary_cross_entropy_loss`."""

    pos_weight: Tensor | None

    def __init__(
        self,
        *,
        pos_weight: Tensor | Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        ignore_index: int | None = -100,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.register_buffer("pos_weight", as_buffer(pos_weight), persistent=False)
        self.label_smoothing = label_smoothing
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
        return binary_cross_entropy_loss(
            logits,
            targets,
            scores=scores,
            pos_weight=self.pos_weight,
            label_smoothing=self.label_smoothing,
            ignore_index=self.ignore_index,
            mask=mask,
            weights=weights,
            reduction=self.reduction,
        )

    def row_sums(self, logits: Tensor, labels: Tensor, scores: Tensor, valid: Tensor) -> Tensor:
        """Sum over the classes on a GPU; see `SumsRows`."""
        if self.pos_weight is not None or self.label_smoothing > 0:
            elements: Tensor = self(logits, labels, scores=scores, mask=valid.unsqueeze(-1))
            return elements.sum(-1)
        return sum_rows(logits, labels, scores, valid, Focus("focal", None, 0.0), self.ignore_index)
