"""How every elementwise regression loss reads predictions and targets."""

from typing import NamedTuple

from torch import Tensor

from .._core import check_float, check_mask, check_same_shape, compute_dtype, expand_to, keep_valid, to_compute


class Pairs(NamedTuple):
    """Predictions and targets in float32 or float64, both 0 where not valid, all of one shape."""

    predictions: Tensor
    targets: Tensor
    valid: Tensor | None
    weights: Tensor | None

    @property
    def difference(self) -> Tensor:
        """Predictions minus targets."""
        return self.predictions - self.targets


def read_pairs(
    caller: str, predictions: Tensor, targets: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
) -> Pairs:
    """Check two tensors of one shape, and put 0 where they are masked out."""
    check_float(caller, "predictions", predictions)
    check_same_shape(caller, {"predictions": predictions, "targets": targets})
    check_mask(caller, mask)
    valid = None if mask is None else expand_to(caller, "mask", mask, predictions)
    if weights is not None:
        weights = expand_to(caller, "weights", weights, predictions)
    # Widen before anything is subtracted: in half precision the difference of two near numbers has few digits left.
    targets = targets.to(compute_dtype(predictions))
    return Pairs(keep_valid(to_compute(predictions), valid), keep_valid(targets, valid), valid, weights)
