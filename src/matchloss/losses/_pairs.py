"""How every elementwise regression loss reads predictions and targets."""

from typing import NamedTuple

from torch import Tensor

from .._core import check_float, check_mask, check_same_shape, compute_dtype, expand_to, keep_valid, to_compute


class Pairs(NamedTuple):
    """Difference of predictions and targets, all of one shape."""

    difference: Tensor
    """Predictions minus targets in float32 or float64, 0 where not valid."""
    valid: Tensor | None
    weights: Tensor | None


def read_pairs(
    caller: str, predictions: Tensor, targets: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
) -> Pairs:
    """Check two tensors of one shape and subtract them, masked elements apart."""
    check_float(caller, "predictions", predictions)
    check_same_shape(caller, {"predictions": predictions, "targets": targets})
    check_mask(caller, mask)
    valid = None if mask is None else expand_to(caller, "mask", mask, predictions)
    if weights is not None:
        weights = expand_to(caller, "weights", weights, predictions)
    # Widen before subtracting: in half precision the difference of two near numbers has few digits left.
    difference = keep_valid(to_compute(predictions), valid) - keep_valid(targets.to(compute_dtype(predictions)), valid)
    return Pairs(difference, valid, weights)
