"""Lovász-softmax loss: :func:`lovasz_softmax_loss`."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from .._core import LossModule, Reduction, as_buffer, check_option, reduce_loss
from ._class_inputs import ClassInputs, read_class_inputs, read_class_weights
from ._lovasz import lovasz_extension
from ._lovasz_rows import can_take_rows, lovasz_of_probs

Classes = Literal["present", "all"]


def lovasz_softmax_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    classes: Classes = "present",
    per_image: bool = False,
    class_weights: Tensor | None = None,
    ignore_index: int | None = -100,
    mask: Tensor | None = None,
    class_dim: int = 1,
    reduction: Reduction = "mean",
) -> Tensor:
    """Lovász extension of 1 - IoU of each class: a convex bound of the metric itself.

        L_c = Σ_i e_π(i) (Δ_i - Δ_{i-1}),   e = 1 - p_c at pixels of class c, p_c elsewhere,   p = softmax(logits)

    π sorts the errors, the largest first; Δ_i is 1 - IoU if the first i of them were wrong. For a mean IoU that
    small classes weigh on, mostly to finish what :func:`cross_entropy_loss` began, or beside it. At hard predictions
    it equals 1 - IoU exactly, as :func:`softmax_jaccard_loss` does; between them its weights go to the worst pixels.

    Shapes:
        logits: (N, C, *), any float dtype, C >= 2.
        targets: (N, *) integer labels; the loss is not defined for soft targets.
        returns: () or, with reduction "none", (1, C) of the batch, (N, C) if `per_image`, 0 where not counted;
            float32 (float64 for float64).

    Args:
        classes: "present" counts the classes that have a pixel, "all" also the others, whose loss is the largest
            probability of the class.
        per_image: a loss for each image; False sorts the pixels of the batch as one image, which is nearer to the
            IoU of a data set, and whose value depends on the batch.
        class_weights: (C,) factor per class; `mean` divides by the summed weights of what counts.
        ignore_index: label that does not count; None to have no such label.
        mask: (N, *) bool, False = leave out. There are no weights per element: the loss is not a sum over them.
        class_dim: where the classes are.
        reduction: "none", "sum" or "mean" over the images and classes that count; none gives 0.

    Raises:
        ValueError: shapes that do not fit, soft targets, one channel, on the CPU a label out of range.

    Reference:
        Berman et al. 2018, arXiv:1705.08790.

    Differs:
        The batch is the one of this process, also in distributed training. The authors' code: the same with
        `classes="present"`. segmentation_models_pytorch: the same, but with all pixels ignored it returns an empty
        tensor. kornia: `per_image=True, classes="all"`, no ignored label; it divides weighted classes by C, and
        before 0.9 it sorted raw labels. Ignored pixels sort last here and change nothing; no loop over classes.

    Example:
        Two pixels of class 0, p_0 = 0.5 at the first and almost 1 at the second. Were the first one wrong, IoU would
        be 1/2, so its error 0.5 has weight 1/2:

        >>> logits = torch.tensor([[[0.0, 20.0], [0.0, -20.0]]])
        >>> lovasz_softmax_loss(logits, torch.tensor([[0, 0]]))
        tensor(0.2500)

        Class 1 has no pixel; with "all" it enters with its largest probability, 0.5:

        >>> lovasz_softmax_loss(logits, torch.tensor([[0, 0]]), classes="all", reduction="none")
        tensor([[0.2500, 0.5000]])
    """
    caller = "lovasz_softmax_loss"
    check_option(caller, "classes", classes, ("present", "all"))
    inputs = read_class_inputs(caller, logits, targets, class_dim=class_dim, ignore_index=ignore_index, mask=mask)
    if inputs.labels is None:
        raise ValueError(f"{caller}: expected integer labels, got targets of the logits' shape {tuple(logits.shape)}")
    labels = inputs.clean_labels()
    losses = _lovasz_of_classes(inputs, labels, per_image)
    counts = _counts(inputs, labels, classes)
    if not per_image:
        counts = counts.any(0, keepdim=True)
    class_weights = read_class_weights(caller, class_weights, inputs)
    total = None
    if class_weights is not None:
        losses, total = losses * class_weights, (class_weights * counts).sum()
    return reduce_loss(caller, losses, reduction, valid=counts, total=total)


def _lovasz_of_classes(inputs: ClassInputs, labels: Tensor, per_image: bool) -> Tensor:
    """``(N, C)``, or ``(1, C)`` for the batch as one image."""
    probs = inputs.clean_logits().softmax(1)
    if can_take_rows(probs):
        return lovasz_of_probs(probs, labels, inputs.valid, per_image)
    foreground = labels.unsqueeze(1) == torch.arange(probs.shape[1], device=probs.device).unsqueeze(1)
    errors = torch.where(foreground, 1 - probs, probs)
    valid = None if inputs.valid is None else inputs.valid.unsqueeze(1).expand_as(probs)
    if not per_image:
        errors, foreground = _one_image(errors), _one_image(foreground)
        valid = None if valid is None else _one_image(valid)
    return lovasz_extension(errors, foreground, valid)


def _counts(inputs: ClassInputs, labels: Tensor, classes: Classes) -> Tensor:
    """``(N, C)``, which classes count in which image."""
    images, number = inputs.logits.shape[:2]
    valid = torch.ones_like(labels, dtype=torch.bool) if inputs.valid is None else inputs.valid
    if classes == "all":
        return valid.any(1, keepdim=True).expand(-1, number)
    slots = torch.where(valid, labels, number)  # what does not count is found in a class of its own
    found = torch.zeros(images, number + 1, dtype=torch.bool, device=labels.device)
    return found.scatter_(1, slots, True)[:, :number]


def _one_image(values: Tensor) -> Tensor:
    """(N, C, P) to (1, C, N P)."""
    return values.transpose(0, 1).flatten(1).unsqueeze(0)


class LovaszSoftmaxLoss(LossModule):
    """Module form of :func:`lovasz_softmax_loss`."""

    class_weights: Tensor | None

    def __init__(
        self,
        *,
        classes: Classes = "present",
        per_image: bool = False,
        class_weights: Tensor | Sequence[float] | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.register_buffer("class_weights", as_buffer(class_weights), persistent=False)
        self.classes: Classes = classes
        self.per_image = per_image
        self.ignore_index = ignore_index
        self.class_dim = class_dim
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, targets: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Compute the loss."""
        return lovasz_softmax_loss(
            logits,
            targets,
            classes=self.classes,
            per_image=self.per_image,
            class_weights=self.class_weights,
            ignore_index=self.ignore_index,
            mask=mask,
            class_dim=self.class_dim,
            reduction=self.reduction,
        )
