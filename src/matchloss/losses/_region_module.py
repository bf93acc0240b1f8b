"""Base of the region modules: their common options, and the loss as a function of the sums."""

from collections.abc import Sequence

from torch import Tensor

from .._core import LossModule, Reduction, as_buffer
from ._region import Empty, Form, RegionElements, RegionSums, region_elements
from ._sigmoid_sums import sigmoid_sums
from ._softmax_sums import softmax_sums


class RegionLoss(LossModule):
    """A module whose loss is a function of the region sums.

    A criterion with several of them reads the logits once and asks each for :meth:`region_loss`.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        caller: str,
        form: Form,
        empty: Empty,
        per_image: bool,
        sync: bool,
        class_weights: Tensor | Sequence[float] | None,
        ignore_index: int | None,
        reduction: Reduction,
    ) -> None:
        super().__init__()
        self.register_buffer("class_weights", as_buffer(class_weights), persistent=False)
        self._caller = caller
        self.form: Form = form
        self.empty: Empty = empty
        self.per_image = per_image
        self.sync = sync
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction

    def region_loss(self, sums: RegionSums) -> Tensor:
        """The loss of each image and class, before absent classes, weights and reduction."""
        raise NotImplementedError

    def elements(self, sums: RegionSums) -> RegionElements:
        """The loss of sums that somebody has made already, before the reduction."""
        return region_elements(
            self._caller,
            sums,
            self.region_loss,
            empty=self.empty,
            per_image=self.per_image,
            sync=self.sync,
            class_weights=self.class_weights,
        )


class SoftmaxRegionLoss(RegionLoss):
    """Region loss of exclusive classes."""

    def __init__(
        self,
        caller: str,
        form: Form,
        empty: Empty,
        per_image: bool,
        sync: bool,
        class_weights: Tensor | Sequence[float] | None,
        ignore_index: int | None,
        class_dim: int,
        reduction: Reduction,
    ) -> None:
        super().__init__(caller, form, empty, per_image, sync, class_weights, ignore_index, reduction)
        self.class_dim = class_dim

    def forward(
        self, logits: Tensor, targets: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        sums = softmax_sums(
            self._caller,
            logits,
            targets,
            form=self.form,
            ignore_index=self.ignore_index,
            mask=mask,
            weights=weights,
            class_dim=self.class_dim,
        )
        return self.elements(sums).reduce(self._caller, self.reduction)


class SigmoidRegionLoss(RegionLoss):
    """Region loss of binary maps."""

    def __init__(
        self,
        caller: str,
        form: Form,
        empty: Empty,
        per_image: bool,
        sync: bool,
        class_weights: Tensor | Sequence[float] | None,
        ignore_index: int | None,
        class_dim: int | None,
        reduction: Reduction,
    ) -> None:
        super().__init__(caller, form, empty, per_image, sync, class_weights, ignore_index, reduction)
        self.class_dim = class_dim

    def forward(
        self, logits: Tensor, targets: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        sums = sigmoid_sums(
            self._caller,
            logits,
            targets,
            form=self.form,
            ignore_index=self.ignore_index,
            mask=mask,
            weights=weights,
            class_dim=self.class_dim,
        )
        return self.elements(sums).reduce(self._caller, self.reduction)
