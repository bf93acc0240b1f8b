"""The body of every region loss: read the sums, apply the formula, reduce."""

from collections.abc import Callable

from torch import Tensor

from .._core import Reduction
from ._region import Empty, Form, RegionSums, region_elements
from ._sigmoid_sums import sigmoid_sums
from ._softmax_sums import softmax_sums


def softmax_region(
    caller: str,
    logits: Tensor,
    targets: Tensor,
    region_loss: Callable[[RegionSums], Tensor],
    *,
    form: Form,
    empty: Empty,
    per_image: bool,
    sync: bool,
    class_weights: Tensor | None,
    ignore_index: int | None,
    mask: Tensor | None,
    weights: Tensor | None,
    class_dim: int,
    reduction: Reduction,
) -> Tensor:
    """Region loss of exclusive classes."""
    sums = softmax_sums(
        caller,
        logits,
        targets,
        form=form,
        ignore_index=ignore_index,
        mask=mask,
        weights=weights,
        class_dim=class_dim,
    )
    elements = region_elements(
        caller, sums, region_loss, empty=empty, per_image=per_image, sync=sync, class_weights=class_weights
    )
    return elements.reduce(caller, reduction)


def sigmoid_region(
    caller: str,
    logits: Tensor,
    targets: Tensor,
    region_loss: Callable[[RegionSums], Tensor],
    *,
    form: Form,
    empty: Empty,
    per_image: bool,
    sync: bool,
    class_weights: Tensor | None,
    ignore_index: int | None,
    mask: Tensor | None,
    weights: Tensor | None,
    class_dim: int | None,
    reduction: Reduction,
) -> Tensor:
    """Region loss of binary maps."""
    sums = sigmoid_sums(
        caller,
        logits,
        targets,
        form=form,
        ignore_index=ignore_index,
        mask=mask,
        weights=weights,
        class_dim=class_dim,
    )
    elements = region_elements(
        caller, sums, region_loss, empty=empty, per_image=per_image, sync=sync, class_weights=class_weights
    )
    return elements.reduce(caller, reduction)
