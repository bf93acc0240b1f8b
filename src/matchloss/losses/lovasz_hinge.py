"""Lovász hinge loss: :func:`lovasz_hinge_loss`."""

import torch
from torch import Tensor

from .._core import (
    LossModule,
    Reduction,
    both,
    check_float,
    check_mask,
    check_same_shape,
    compute_dtype,
    expand_to,
    keep_valid,
    reduce_loss,
    to_compute,
)
from ._lovasz import lovasz_extension
from ._lovasz_rows import can_take_rows, lovasz_of_errors


def lovasz_hinge_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    per_image: bool = False,
    ignore_index: int | None = -100,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Lovász extension of 1 - IoU of one foreground class, at the hinge errors of its logits.

        L = Σ_i e_π(i) (Δ_i - Δ_{i-1}),   e = max(0, 1 - x (2t - 1))

    π sorts the errors, the largest first; Δ_i is 1 - IoU if the first i of them were wrong. The binary sibling of
    :func:`lovasz_softmax_loss`; it works on margins, not probabilities, so a pixel that is right by a margin of 1
    costs nothing, and a pixel that is wrong costs more the more confident it is. For a bounded loss of binary maps
    take :func:`sigmoid_jaccard_loss`.

    Shapes:
        logits: (N, *), any float dtype.
        targets: (N, *), 0 or 1, of any dtype.
        returns: () or, with reduction "none", (1,) of the batch, (N,) if `per_image`, 0 where nothing counts; float32
            (float64 for float64).

    Args:
        per_image: a loss for each image; False sorts the pixels of the batch as one image, whose value depends on
            the batch.
        ignore_index: target that does not count; None to have no such target.
        mask: (N, *) bool, broadcastable, False = leave out. There are no weights per element: the loss is not a sum
            over them.
        reduction: "none", "sum" or "mean" over the images with a pixel that counts; none gives 0.

    Raises:
        ValueError: shapes that differ, on the CPU a target that is neither 0 nor 1 nor ignored.

    Reference:
        Berman et al. 2018, arXiv:1705.08790; Yu and Blaschko 2015, Learning Submodular Losses with the Lovász
        Hinge.

    Differs:
        The batch is the one of this process, also in distributed training. The authors' code: `per_image=True`, and
        0 for an image without a pixel that counts, which enters its mean and not ours. kornia: `per_image=True`; it
        takes any target, and -100 can make its loss negative. segmentation_models_pytorch: the same by default.

    Example:
        One pixel of foreground right by a margin, one of background wrong with x = 1: error 2, and IoU 1/2 if it were
        the only one.

        >>> lovasz_hinge_loss(torch.tensor([[3.0, 1.0]]), torch.tensor([[1, 0]]))
        tensor(1.)

        An image without foreground costs its largest error:

        >>> lovasz_hinge_loss(torch.tensor([[-3.0, 1.0]]), torch.tensor([[0, 0]]))
        tensor(2.)
    """
    caller = "lovasz_hinge_loss"
    check_float(caller, "logits", logits)
    check_same_shape(caller, {"logits": logits, "targets": targets})
    check_mask(caller, mask)
    if logits.ndim == 0:
        raise ValueError(f"{caller}: expected (N, *) logits, got shape ()")
    valid = None if mask is None else expand_to(caller, "mask", mask, logits)
    targets = targets.to(compute_dtype(logits))  # in uint8 a comparison with -100 would find 156
    if ignore_index is not None:
        valid = both(valid, targets != ignore_index)
    _check_binary(caller, targets, valid, ignore_index)
    foreground = targets > 0.5
    rows = logits.shape[0] if per_image else 1
    margins = torch.where(foreground, 1 - to_compute(logits), 1 + to_compute(logits))
    errors = keep_valid(margins, valid).relu().reshape(rows, -1 if logits.numel() else 0)
    valid = torch.ones_like(foreground) if valid is None else valid
    valid, foreground = valid.reshape(errors.shape), foreground.reshape(errors.shape)
    losses = (lovasz_of_errors if can_take_rows(errors) else lovasz_extension)(errors, foreground, valid)
    return reduce_loss(caller, losses, reduction, valid=valid.any(1))


def _check_binary(caller: str, targets: Tensor, valid: Tensor | None, ignore_index: int | None) -> None:
    """Reject soft targets and labels where looking costs no sync: for them the loss is not defined."""
    if targets.device.type == "cpu" and not torch.compiler.is_compiling():
        wrong = (targets != 0) & (targets != 1) if valid is None else (targets != 0) & (targets != 1) & valid
        if wrong.any():
            got = targets[wrong][0].item()
            raise ValueError(f"{caller}: expected targets of 0, 1 or {ignore_index=}, got {got}")


class LovaszHingeLoss(LossModule):
    """Module form of :func:`lovasz_hinge_loss`."""

    def __init__(
        self, *, per_image: bool = False, ignore_index: int | None = -100, reduction: Reduction = "mean"
    ) -> None:
        super().__init__()
        self.per_image = per_image
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, targets: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Compute the loss."""
        return lovasz_hinge_loss(
            logits,
            targets,
            per_image=self.per_image,
            ignore_index=self.ignore_index,
            mask=mask,
            reduction=self.reduction,
        )
