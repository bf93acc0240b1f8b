"""Cross entropy of the hardest pixels alone: :func:`ohem_cross_entropy_loss`."""

import torch
from torch import Tensor

from .._core import LossModule, Reduction
from ._class_inputs import ClassInputs, read_class_inputs, reduce_class_loss
from ._softmax_statistics import label_log_prob


def ohem_cross_entropy_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    threshold: float | None = 0.7,
    min_kept: int | float = 0.0625,
    ignore_index: int | None = -100,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    class_dim: int = 1,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross entropy averaged over the hard elements only (online hard example mining).

        L = -log p_y where p_y < threshold or among the min_kept smallest p_y, else left out

    For segmentation in which most pixels are soon learnt and drown the rest. It cuts sharply where
    :func:`softmax_focal_loss` fades, and it trusts labels: wrongly labelled pixels are the hardest of all.
    `threshold=None` is top-k cross entropy. The batch is pooled, each rank on its own.

    Shapes:
        logits: (N, C, *), any float dtype, C >= 2.
        targets: (N, *) integer labels.
        returns: () or, with reduction "none", (N, *) with 0 where left out, float32 (float64 for float64).

    Args:
        threshold: elements whose right class is less probable are kept, in (0, 1]; None for no threshold.
        min_kept: at least so many are kept, as far as there are so many valid ones: an int is a number of elements of
            the batch, a float in [0, 1] a share of its valid elements, rounded, one at least. 1 is one, 1.0 is all.
        ignore_index: label that does not count; None to have no such label.
        mask: (N, *) bool, False = leave out.
        weights: (N, *) factor per element, without effect on which are kept and on the divisor of `mean`; class
            weights are `class_weights[labels]`.
        class_dim: where the classes are.
        reduction: "none", "sum" or "mean" over the kept elements; nothing valid gives 0.

    Raises:
        ValueError: shapes that do not fit, dense targets, threshold outside (0, 1], min_kept negative or a float above
            1, nothing to keep (no threshold and min_kept 0), on the CPU a label out of range.

    Reference:
        Shrivastava et al. 2016, arXiv:1604.03540; for pixels Wu et al. 2016, arXiv:1605.06885.

    Differs:
        mmsegmentation keeps p below max(threshold, p at rank min_kept), strictly: of equal values it may keep none (NaN
        then), of min_kept = all it drops the easiest, and all ignored cuts the loss off the graph; its min_kept is per
        image. Here exactly min_kept survive, the first of equal ones. SegLossOdyssey's and nnU-Net's top k % counts
        ignored pixels in; here a share is of the valid ones.

    Example:
        p = 0.5, 0.9 and 0.99 of the right class; the first is below 0.7, and it is a third:

        >>> logits = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 2.1972, 4.5951]]])
        >>> labels = torch.ones(1, 3, dtype=torch.long)
        >>> ohem_cross_entropy_loss(logits, labels, reduction="none")
        tensor([[0.6931, 0.0000, 0.0000]])
        >>> ohem_cross_entropy_loss(logits, labels, min_kept=2, reduction="none")
        tensor([[0.6931, 0.1054, 0.0000]])
        >>> ohem_cross_entropy_loss(logits, labels, min_kept=2)
        tensor(0.3993)
    """
    _check_options(threshold, min_kept)
    inputs = read_class_inputs(
        "ohem_cross_entropy_loss",
        logits,
        targets,
        class_dim=class_dim,
        ignore_index=ignore_index,
        mask=mask,
        weights=weights,
    )
    if inputs.labels is None:
        raise ValueError(
            "ohem_cross_entropy_loss: expected integer labels, since a soft target has no one right class, "
            f"got targets of the logits' shape {tuple(targets.shape)}"
        )
    log_prob = label_log_prob(inputs)
    inputs = inputs._replace(valid=_kept(log_prob.detach(), inputs, threshold, min_kept))
    return reduce_class_loss("ohem_cross_entropy_loss", -log_prob, inputs, reduction)


def _check_options(threshold: float | None, min_kept: int | float) -> None:
    """Reject options that keep nothing or mean nothing."""
    if threshold is not None and not 0 < threshold <= 1:
        raise ValueError(f"ohem_cross_entropy_loss: expected threshold in (0, 1] or None, got {threshold}")
    if min_kept < 0 or (isinstance(min_kept, float) and not min_kept <= 1):
        raise ValueError(
            f"ohem_cross_entropy_loss: expected min_kept to be an int >= 0 or a float in [0, 1], got {min_kept}"
        )
    if threshold is None and min_kept == 0:
        raise ValueError("ohem_cross_entropy_loss: expected min_kept > 0 without a threshold, got 0")


def _kept(log_prob: Tensor, inputs: ClassInputs, threshold: float | None, min_kept: int | float) -> Tensor:
    """``(N, P)`` bool, the elements that count."""
    valid = torch.ones_like(log_prob, dtype=torch.bool) if inputs.valid is None else inputs.valid
    # No branch on values and no boolean indexing: both would stall a GPU. NaN sorts as the hardest, and stays.
    hardness = torch.where(valid, -log_prob, -1.0).flatten()  # -1: below every cross entropy
    order = hardness.argsort(descending=True, stable=True)
    positions = torch.arange(hardness.numel(), device=hardness.device)
    rank = torch.empty_like(positions).scatter(0, order, positions)
    if isinstance(min_kept, float):
        kept = rank < (valid.sum().to(log_prob.dtype) * min_kept).round().clamp(min=1 if min_kept > 0 else 0)
    else:
        kept = rank < min_kept
    if threshold is not None:
        kept = kept | ~(log_prob.flatten().exp() >= threshold)  # not `<`, which is False for NaN
    return kept.view_as(log_prob) & valid


class OHEMCrossEntropyLoss(LossModule):
    """Module form of :func:`ohem_cross_entropy_loss`."""

    def __init__(
        self,
        *,
        threshold: float | None = 0.7,
        min_kept: int | float = 0.0625,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.threshold = threshold
        self.min_kept = min_kept
        self.ignore_index = ignore_index
        self.class_dim = class_dim
        self.reduction: Reduction = reduction

    def forward(
        self, logits: Tensor, targets: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return ohem_cross_entropy_loss(
            logits,
            targets,
            threshold=self.threshold,
            min_kept=self.min_kept,
            ignore_index=self.ignore_index,
            mask=mask,
            weights=weights,
            class_dim=self.class_dim,
            reduction=self.reduction,
        )
