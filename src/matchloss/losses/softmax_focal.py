"""Focal loss with a softmax: :func:`softmax_focal_loss`."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .._core import LossModule, Reduction, as_buffer, check_positive
from ._class_inputs import ClassInputs, read_class_inputs, reduce_class_loss
from ._softmax_statistics import label_log_prob


def softmax_focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: float | Tensor | None = None,
    gamma: float = 2.0,
    ignore_index: int | None = -100,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    class_dim: int = 1,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross entropy over classes that turns down the easy examples.

        L = -α_y (1 - p_y)^γ log p_y,   or   L = -Σ_c α_c t_c (1 - p_c)^γ log p_c for soft targets t

    For classes that exclude each other and are far from equally frequent, as in segmentation. A larger γ, not a smaller
    one, favours the hard examples; γ = 0 with alpha off is exactly :func:`cross_entropy_loss`. Detectors that ask each
    class on its own want :func:`sigmoid_focal_loss`, which is another loss.

    Shapes:
        logits: (N, C, *), any float dtype, C >= 2.
        targets: (N, *) integer labels, or (N, C, *) one-hot, smoothed or mixed targets.
        returns: () or, with reduction "none", (N, *), float32 (float64 for float64).

    Args:
        alpha: factor of all classes, or (C,) factor per class; None for none. The divisor of `mean` is not changed.
        gamma: focusing exponent, >= 0.
        ignore_index: label that does not count; None to have no such label.
        mask: (N, *) bool, False = leave out.
        weights: (N, *) factor per element; does not change the divisor of `mean`.
        class_dim: where the classes are.
        reduction: "none", "sum" or "mean" over the valid elements (pixels); nothing valid gives 0.

    Raises:
        ValueError: shapes that do not fit, one channel, a negative alpha or gamma, on the CPU a label out of range.

    Reference:
        Lin et al. 2017, arXiv:1708.02002, eq. 5, with p_t the softmax probability of the right class.

    Differs:
        kornia and MONAI (`use_softmax=True`) read a number alpha as [1 - α, α, α, ...], class 0 being background: give
        that as a tensor. Both divide `mean` by the classes too, so at γ = 0 they return the cross entropy over C.
        MONAI's `sum` first averages over space; this one adds up. The multi-class focal loss of
        segmentation_models_pytorch and torchvision is the sigmoid one, class by class.

    Example:
        p = 1/2 of two classes: (1 - 1/2)² log 2 = 0.1733. With γ = 0 it is log 2.

        >>> softmax_focal_loss(torch.zeros(1, 2), torch.tensor([0]))
        tensor(0.1733)
        >>> softmax_focal_loss(torch.zeros(1, 2), torch.tensor([0]), gamma=0.0)
        tensor(0.6931)

        kornia's and MONAI's alpha of 0.25, on an element of class 0, here background:

        >>> softmax_focal_loss(torch.zeros(1, 2), torch.tensor([0]), alpha=torch.tensor([0.75, 0.25]))
        tensor(0.1300)
    """
    check_positive("softmax_focal_loss", "gamma", gamma, or_zero=True)
    inputs = read_class_inputs(
        "softmax_focal_loss",
        logits,
        targets,
        class_dim=class_dim,
        ignore_index=ignore_index,
        mask=mask,
        weights=weights,
    )
    alpha = read_alpha(alpha, inputs)
    if inputs.labels is not None:
        loss = focal_of_labels(label_log_prob(inputs), inputs, alpha, gamma)
    else:
        assert inputs.dense is not None
        losses = inputs.dense * _focal(inputs.clean_logits().log_softmax(1), gamma)
        if alpha is not None:
            losses = losses * (alpha[:, None] if isinstance(alpha, Tensor) else alpha)
        loss = losses.sum(1)
    return reduce_class_loss("softmax_focal_loss", loss, inputs, reduction)


def focal_of_labels(log_prob: Tensor, inputs: ClassInputs, alpha: float | Tensor | None, gamma: float) -> Tensor:
    """``(N, P)`` loss of the labels' log probability; a criterion that has it already calls this."""
    loss = _focal(log_prob, gamma)
    if alpha is None:
        return loss
    return loss * (alpha[inputs.clean_labels()] if isinstance(alpha, Tensor) else alpha)


def _focal(log_prob: Tensor, gamma: float) -> Tensor:
    """``-(1 - p)^γ log p``."""
    if gamma == 0:
        return -log_prob
    # Never zero, since the gradient of a power below 1 is infinite there.
    missed = (-log_prob.expm1()).clamp(min=torch.finfo(log_prob.dtype).tiny)
    return -(missed**gamma) * log_prob


def read_alpha(alpha: float | Tensor | None, inputs: ClassInputs) -> float | Tensor | None:
    """Check alpha and bring ``(C,)`` factors to the logits' dtype and device."""
    if isinstance(alpha, Tensor):
        classes = inputs.logits.shape[1]
        if alpha.shape != (classes,):
            raise ValueError(
                f"softmax_focal_loss: expected alpha of shape ({classes},) or a number, got {tuple(alpha.shape)}"
            )
        return alpha.to(inputs.logits.device, inputs.dtype)
    if alpha is not None:
        check_positive("softmax_focal_loss", "alpha", alpha, or_zero=True)
    return alpha


class SoftmaxFocalLoss(LossModule):
    """Module form of :func:`softmax_focal_loss`."""

    alpha: float | Tensor | None

    def __init__(
        self,
        *,
        alpha: float | Tensor | Sequence[float] | None = None,
        gamma: float = 2.0,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        if alpha is None or isinstance(alpha, int | float):
            self.alpha = alpha
        else:
            self.register_buffer("alpha", as_buffer(alpha), persistent=False)
        self.gamma = gamma
        self.ignore_index = ignore_index
        self.class_dim = class_dim
        self.reduction: Reduction = reduction

    def forward(
        self, logits: Tensor, targets: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return softmax_focal_loss(
            logits,
            targets,
            alpha=self.alpha,
            gamma=self.gamma,
            ignore_index=self.ignore_index,
            mask=mask,
            weights=weights,
            class_dim=self.class_dim,
            reduction=self.reduction,
        )
