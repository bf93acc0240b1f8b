"""Gradients with respect to the logits: how large on a pixel of each class, and on which pixels."""

from torch import Tensor, nn

from matchloss.criteria import SegmentationCriterion
from matchloss.losses import SoftmaxFocalLoss

HARDEST = 0.1
GAMMAS = (0.0, 1.0, 2.0, 5.0)
"""The first is cross entropy."""


def pixel_gradients(criterion: nn.Module, logits: Tensor, labels: Tensor) -> Tensor:
    """Length of the gradient at each pixel, (N, H, W)."""
    logits = logits.detach().requires_grad_()
    criterion(logits, labels).total.backward()
    assert logits.grad is not None
    return logits.grad.norm(dim=1)


def by_class(criterion: nn.Module, logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Mean length on foreground and on background pixels, and the foreground's share of the sum."""
    lengths, is_object = pixel_gradients(criterion, logits, labels), labels == 1
    return {
        "per_foreground_pixel": float(lengths[is_object].mean()),
        "per_background_pixel": float(lengths[labels == 0].mean()),
        "foreground_part": float(lengths[is_object].sum() / lengths.sum()),
    }


def hard_parts(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Share of the gradient on the tenth of the pixels with the lowest p_t, by the focal loss's gamma."""
    p_true = logits.softmax(1).gather(1, labels.clamp(min=0)[:, None])[:, 0]
    order = p_true[labels >= 0].argsort(stable=True)
    parts = {}
    for gamma in GAMMAS:
        criterion = SegmentationCriterion({"focal": (1.0, SoftmaxFocalLoss(gamma=gamma))})
        # Summed in float64: the easy pixels are many and tiny.
        lengths = pixel_gradients(criterion, logits, labels)[labels >= 0].double()[order]
        parts[f"{gamma:g}"] = float(lengths[: int(HARDEST * len(order))].sum() / lengths.sum())
    return parts
