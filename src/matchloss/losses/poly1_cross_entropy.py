"""Cross entropy with a heavier first term: :func:`poly1_cross_entropy_loss`."""

from torch import Tensor

from .._core import LossModule, Reduction
from ._class_inputs import read_class_inputs, reduce_class_loss
from ._softmax_statistics import label_log_prob


def poly1_cross_entropy_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    epsilon: float = 1.0,
    ignore_index: int | None = -100,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    class_dim: int = 1,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross entropy whose leading polynomial term is changed by one number.

        L = -log p_y + ε (1 - p_y),   or   L = Σ_c t_c (-log p_c + ε (1 - p_c)) for soft targets t

    -log p is the series Σ_j (1 - p)^j / j; ε adds to its first coefficient. ε > 0 pushes sure predictions further up,
    where :func:`softmax_focal_loss` drops the first terms and lets them be; ε < 0 holds back over-confidence. ε = 0 is
    exactly :func:`cross_entropy_loss`.

    Shapes:
        logits: (N, C, *), any float dtype, C >= 2.
        targets: (N, *) integer labels, or (N, C, *) one-hot, smoothed or mixed targets.
        returns: () or, with reduction "none", (N, *), float32 (float64 for float64).

    Args:
        epsilon: added to the coefficient of 1 - p, which is 1; below -1 sure predictions are pushed down.
        ignore_index: label that does not count; None to have no such label.
        mask: (N, *) bool, False = leave out.
        weights: (N, *) factor per element; does not change the divisor of `mean`.
        class_dim: where the classes are.
        reduction: "none", "sum" or "mean" over the valid elements; nothing valid gives 0.

    Raises:
        ValueError: shapes that do not fit, one channel, on the CPU a label out of range.

    Reference:
        Leng et al. 2022, arXiv:2204.12511.

    Differs:
        optax' ``poly_loss_cross_entropy`` has the same form but ε = 2 by default, classes last, no labels and no
        reduction.

    Example:
        p = 1/2 of two classes: log 2 + 1/2 = 1.1931.

        >>> poly1_cross_entropy_loss(torch.zeros(1, 2), torch.tensor([0]))
        tensor(1.1931)
    """
    inputs = read_class_inputs(
        "poly1_cross_entropy_loss",
        logits,
        targets,
        class_dim=class_dim,
        ignore_index=ignore_index,
        mask=mask,
        weights=weights,
    )
    if inputs.labels is not None:
        loss = _poly1(label_log_prob(inputs), epsilon)
    else:
        assert inputs.dense is not None
        loss = (inputs.dense * _poly1(inputs.clean_logits().log_softmax(1), epsilon)).sum(1)
    return reduce_class_loss("poly1_cross_entropy_loss", loss, inputs, reduction)


def _poly1(log_prob: Tensor, epsilon: float) -> Tensor:
    """``-log p + ε (1 - p)``."""
    return -log_prob if epsilon == 0 else -log_prob - epsilon * log_prob.expm1()


class Poly1CrossEntropyLoss(LossModule):
    """Module form of :func:`poly1_cross_entropy_loss`."""

    def __init__(
        self,
        *,
        epsilon: float = 1.0,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.ignore_index = ignore_index
        self.class_dim = class_dim
        self.reduction: Reduction = reduction

    def forward(
        self, logits: Tensor, targets: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return poly1_cross_entropy_loss(
            logits,
            targets,
            epsilon=self.epsilon,
            ignore_index=self.ignore_index,
            mask=mask,
            weights=weights,
            class_dim=self.class_dim,
            reduction=self.reduction,
        )
