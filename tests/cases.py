"""One row a loss: the list that tests, benchmarks and plots read. A new loss adds its row, and every law holds it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import inputs
import reference as ref
from matchloss import losses


@dataclass(frozen=True)
class LossCase:
    """A loss, its module, its example inputs, its slow reference, and the options worth trying."""

    function: Callable[..., Tensor]
    module: type[nn.Module]
    make: Callable[[int], inputs.Inputs]
    """Batch size -> float64 inputs, the same on each call."""
    reference: Callable[..., tuple[Any, float]]
    """NumPy: (predictions, targets, mask, weights, **options) -> (unreduced loss, divisor of the mean)."""
    options: tuple[Mapping[str, Any], ...] = ({},)
    takes_mask: bool = True
    takes_weights: bool = True
    batch_coupled: bool = False
    """The loss of one item depends on the others of the batch (balancing, hard-example mining, batch pooling)."""
    gradcheck: bool = True
    """False only where the loss is piecewise constant in a way finite differences cannot see; say why beside it."""
    twice_differentiable: bool = True
    compiles: bool = True
    """False where the docstring says why it cannot be traced in one graph."""
    syncs: bool = False
    """True where the loss reads data on the host; its docstring says so."""

    @property
    def name(self) -> str:
        return self.function.__name__


CLASS_WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 0.0], dtype=torch.float64)

LOSSES: tuple[LossCase, ...] = (
    # Classification
    LossCase(
        losses.cross_entropy_loss,
        losses.CrossEntropyLoss,
        inputs.class_logits,
        ref.cross_entropy_loss,
        options=(
            {},
            {"class_weights": CLASS_WEIGHTS},
            {"label_smoothing": 0.1, "class_weights": CLASS_WEIGHTS},
        ),
    ),
    LossCase(
        losses.cross_entropy_loss,
        losses.CrossEntropyLoss,
        inputs.class_logits_255,
        ref.cross_entropy_loss,
        options=({"ignore_index": 255}, {"ignore_index": 255, "label_smoothing": 0.1}),
    ),
    LossCase(
        losses.cross_entropy_loss,
        losses.CrossEntropyLoss,
        inputs.class_distributions,
        ref.cross_entropy_loss,
        options=({}, {"class_weights": CLASS_WEIGHTS}, {"label_smoothing": 0.1}),
    ),
    LossCase(
        losses.sigmoid_focal_loss,
        losses.SigmoidFocalLoss,
        inputs.binary_logits,
        ref.sigmoid_focal_loss,
        options=({}, {"alpha": None}, {"gamma": 0.0}, {"gamma": 0.5, "alpha": 0.7}),
    ),
    LossCase(losses.sigmoid_focal_loss, losses.SigmoidFocalLoss, inputs.anchor_labels, ref.sigmoid_focal_loss),
    # Regression
    LossCase(losses.l1_loss, losses.L1Loss, inputs.value_pairs, ref.l1_loss),
)
