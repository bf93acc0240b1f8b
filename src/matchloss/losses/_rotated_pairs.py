"""How the losses of edge distances and of rotated boxes read their rows."""

from typing import NamedTuple

from torch import Tensor

from .._core import check_float, check_mask, check_same_shape, compute_dtype, expand_to, keep_valid, to_compute

ROTATED = "(cx, cy, w, h, a)"


class RowInputs(NamedTuple):
    """Rows of predictions and targets, zero where masked out; the others have one value a row."""

    rows: Tensor
    target_rows: Tensor
    valid: Tensor | None
    weights: Tensor | None


def read_rotated(
    caller: str, boxes: Tensor, target_boxes: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
) -> RowInputs:
    """Check rotated boxes of one shape ``(..., 5)``."""
    return read_rows(caller, "boxes", boxes, target_boxes, 5, ROTATED, mask=mask, weights=weights)


def read_rows(
    caller: str,
    name: str,
    rows: Tensor,
    target_rows: Tensor,
    length: int,
    meaning: str,
    *,
    mask: Tensor | None,
    weights: Tensor | None,
) -> RowInputs:
    """Check two tensors ``(..., length)``, widen half precision, and put 0 where they are masked out."""
    check_float(caller, name, rows)
    check_same_shape(caller, {name: rows, f"target_{name}": target_rows})
    if rows.ndim == 0 or rows.shape[-1] != length:
        raise ValueError(f"{caller}: expected {name} of shape (..., {length}), {meaning}, got {tuple(rows.shape)}")
    check_mask(caller, mask)
    one_a_row = rows[..., 0]
    if weights is not None:
        weights = expand_to(caller, "weights", weights, one_a_row)
    valid = None if mask is None else expand_to(caller, "mask", mask, one_a_row)
    kept = None if valid is None else valid.unsqueeze(-1)
    target_rows = target_rows.to(compute_dtype(rows))
    return RowInputs(keep_valid(to_compute(rows), kept), keep_valid(target_rows, kept), valid, weights)
