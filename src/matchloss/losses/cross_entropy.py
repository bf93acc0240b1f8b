"""Cross entropy over classes: :func:`cross_entropy_loss`."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .._core import LossModule, Reduction, as_buffer
from ._class_inputs import (
    ClassInputs,
    read_class_inputs,
    read_class_weights,
    reduce_class_loss,
    weight_of_targets,
)
from ._softmax_statistics import label_log_prob, smoothed_log_probs


def cross_entropy_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = -100,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    class_dim: int = 1,
    reduction: Reduction = "mean",
) -> Tensor:
    """Negative log likelihood of the right class under a softmax.

        L = -w_y log p_y,   log p = log_softmax(logits)

    The default for one class out of several, per image, box or pixel. With few pixels of interest, combine it with a
    region loss, or weigh it (`class_weights`), or focus it (:func:`softmax_focal_loss`).

    Shapes:
        logits: (N, C, *), any float dtype, C >= 2.
        targets: (N, *) integer labels, or (N, C, *) one-hot, smoothed or mixed targets.
        returns: () or, with reduction "none", (N, *), float32 (float64 for float64).

    Args:
        class_weights: (C,) factor per class; `mean` then divides by the summed weights of the valid targets.
        label_smoothing: share of the target spread evenly over all C classes, the right one included.
        ignore_index: label that does not count; None to have no such label.
        mask: (N, *) bool, False = leave out.
        weights: (N, *) factor per element; does not change the divisor of `mean`.
        class_dim: where the classes are.
        reduction: "none", "sum" or "mean" over the valid elements; nothing valid gives 0.

    Raises:
        ValueError: shapes that do not fit, one channel, on the CPU a label out of range.

    Reference:
        Bishop 2006, Pattern Recognition and Machine Learning, eq. 4.108; label smoothing: Szegedy et al. 2016,
        arXiv:1512.00567, section 7.

    Differs:
        Equal to ``torch.nn.functional.cross_entropy`` but: nothing valid gives 0 instead of NaN; NaN logits at an
        ignored element do no harm; dense targets with class weights divide by the summed weights as labels do (torch
        divides by N there); half precision returns float32.

    Example:
        Labels; the probabilities are softmax([2, 1, 0]) = [0.665, 0.245, 0.090], and -log 0.665 = 0.4076:

        >>> logits = torch.tensor([[2.0, 1.0, 0.0]])
        >>> cross_entropy_loss(logits, torch.tensor([0]))
        tensor(0.4076)

        The same target as one-hot. Give ``num_classes``: without it torch infers the largest label + 1, here 1:

        >>> one_hot = torch.nn.functional.one_hot(torch.tensor([0]), num_classes=3)
        >>> cross_entropy_loss(logits, one_hot)
        tensor(0.4076)

        Two pixels in a column, (1, 3, 2, 1) with labels (1, 2, 1), the second one ignored:

        >>> cross_entropy_loss(logits.view(1, 3, 1, 1).expand(1, 3, 2, 1), torch.tensor([[[0], [-100]]]))
        tensor(0.4076)
    """
    inputs = read_class_inputs(
        "cross_entropy_loss",
        logits,
        targets,
        class_dim=class_dim,
        ignore_index=ignore_index,
        mask=mask,
        weights=weights,
    )
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy_loss: expected label_smoothing in [0, 1], got {label_smoothing}")
    class_weights = read_class_weights("cross_entropy_loss", class_weights, inputs)
    target_weight = None if class_weights is None else weight_of_targets(inputs, class_weights)
    if inputs.labels is None:
        likelihood = _dense_likelihood(inputs, class_weights, label_smoothing)
    elif label_smoothing > 0:
        likelihood = _smoothed_likelihood(inputs, class_weights, target_weight, label_smoothing)
    else:
        likelihood = _weighted(label_log_prob(inputs), target_weight)
    reduced = reduce_class_loss("cross_entropy_loss", likelihood, inputs, reduction, target_weight=target_weight)
    return 0.0 - reduced  # the sign last, where it is one number's; not `-`, which makes -0 of 0


def _dense_likelihood(inputs: ClassInputs, class_weights: Tensor | None, label_smoothing: float) -> Tensor:
    """Log likelihood where every class carries some target."""
    assert inputs.dense is not None
    log_probs = inputs.clean_logits().log_softmax(1)
    if class_weights is not None:
        log_probs = log_probs * class_weights[:, None]
    likelihood = (log_probs * inputs.dense).sum(1)
    if label_smoothing == 0:
        return likelihood
    return (1 - label_smoothing) * likelihood + label_smoothing * log_probs.mean(1)


def _smoothed_likelihood(
    inputs: ClassInputs, class_weights: Tensor | None, target_weight: Tensor | None, label_smoothing: float
) -> Tensor:
    """Log likelihood of labels, a share of which goes to every class."""
    classes = inputs.logits.shape[1]
    if class_weights is None:
        class_weights = torch.ones(classes, dtype=inputs.dtype, device=inputs.logits.device)
    log_prob, everywhere = smoothed_log_probs(inputs, class_weights * (label_smoothing / classes))
    return (1 - label_smoothing) * _weighted(log_prob, target_weight) + everywhere


def _weighted(likelihood: Tensor, target_weight: Tensor | None) -> Tensor:
    return likelihood if target_weight is None else likelihood * target_weight


class CrossEntropyLoss(LossModule):
    """Module form of :func:`cross_entropy_loss`."""

    class_weights: Tensor | None

    def __init__(
        self,
        *,
        class_weights: Tensor | Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.register_buffer("class_weights", as_buffer(class_weights), persistent=False)
        self.label_smoothing = label_smoothing
        self.ignore_index = ignore_index
        self.class_dim = class_dim
        self.reduction: Reduction = reduction

    def forward(
        self, logits: Tensor, targets: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return cross_entropy_loss(
            logits,
            targets,
            class_weights=self.class_weights,
            label_smoothing=self.label_smoothing,
            ignore_index=self.ignore_index,
            mask=mask,
            weights=weights,
            class_dim=self.class_dim,
            reduction=self.reduction,
        )
