"""The focal family of integer labels on a GPU, summed over the classes: logits are read once, a gradient written once.

Nearly every element is a negative. So a program goes along its rows with the formula of the negatives alone, and adds
the labelled class, one element a row, at the end. Nothing is kept for the gradient, which is computed anew.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .focal_terms_cuda import negative_loss, negative_slope, powers, soft_term, weights

TILE, WARPS = 1024, 4
"""Elements that a program holds at once, eight a thread: 16 bytes of half precision, or twice 16 of float32."""
WIDEST = 16
"""Columns of a tile. Most numbers of classes are multiples of it, or of 8 or 4: no thread then idles."""


def sum_rows(
    logits: Tensor,
    labels: Tensor,
    scores: Tensor | None,
    valid: Tensor | None,
    kind: str,
    alpha: float | None,
    gamma: float,
    ignore_index: int | None,
) -> Tensor:
    """``(R,)`` float32 sums over the classes of ``(R, C)`` logits, 0 where a row does not count.

    A label outside ``[0, C)`` is background; scores are the soft targets of the labels, 1 where not given.
    """
    rows, classes = logits.shape
    sums = torch.empty(rows, device=logits.device)
    if logits.numel() == 0:
        return sums.zero_()
    columns = columns_of_tile(classes)
    arrays = [_contiguous(part) for part in (logits, labels, scores, valid)]
    with torch.cuda.device_of(logits):  # type: ignore[no-untyped-call]
        _forward[(triton.cdiv(rows, TILE // columns),)](
            *arrays,
            sums,
            rows,
            *weights(kind, alpha),
            gamma,
            kind=kind,
            power=powers(gamma),
            ignored=ignore_index,
            classes=classes,
            columns=columns,
            tile_rows=TILE // columns,
            num_warps=WARPS,
        )
    return sums


def slopes_of_rows(
    grad: Tensor,
    logits: Tensor,
    labels: Tensor,
    scores: Tensor | None,
    valid: Tensor | None,
    kind: str,
    alpha: float | None,
    gamma: float,
    detach: bool,
    ignore_index: int | None,
) -> Tensor:
    """Gradient in the logits, in their dtype, of a gradient ``(R,)`` in the sums; it is rounded last."""
    rows, classes = logits.shape
    slopes = torch.empty_like(logits, memory_format=torch.contiguous_format)
    if logits.numel() == 0:
        return slopes
    columns = columns_of_tile(classes)
    arrays = [_contiguous(part) for part in (logits, labels, scores, valid)]
    with torch.cuda.device_of(logits):  # type: ignore[no-untyped-call]
        _backward[(triton.cdiv(rows, TILE // columns),)](
            grad,
            grad.stride(0),  # 0 behind a sum: its gradient is one number
            *arrays,
            slopes,
            rows,
            *weights(kind, alpha),
            gamma,
            kind=kind,
            power=powers(gamma),
            detach=detach,
            ignored=ignore_index,
            classes=classes,
            columns=columns,
            tile_rows=TILE // columns,
            num_warps=WARPS,
        )
    return slopes


def columns_of_tile(classes: int) -> int:
    """The widest of 16, 8 and 4 that divides the classes; else as many as there are, rounded up, and 16 at most."""
    fitting = [width for width in (WIDEST, 8, 4) if classes % width == 0]
    return fitting[0] if fitting else min(WIDEST, triton.next_power_of_2(classes))


def _contiguous(values: Tensor | None) -> Tensor | None:
    return None if values is None else values.contiguous()


@triton.jit(do_not_specialize=["rows"])
def _forward(
    logits,
    labels,
    scores,
    valid,
    sums,
    rows,
    of_positives,
    of_negatives,
    gamma,
    kind: tl.constexpr,
    power: tl.constexpr,
    ignored: tl.constexpr,
    classes: tl.constexpr,
    columns: tl.constexpr,
    tile_rows: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * tile_rows + tl.arange(0, tile_rows)
    kept, label = _read_rows(labels, valid, row, rows, ignored, classes)
    start = logits + row * classes
    total = tl.zeros([tile_rows, columns], tl.float32)
    for first in range(0, classes, columns):
        column = first + tl.arange(0, columns)
        x = _read_tile(start, column, kept, classes)
        total += tl.where(column[None, :] == label[:, None], 0.0, negative_loss(x, gamma, power))
    loss, _ = _at_label(start, scores, row, label, of_positives, of_negatives, gamma, kind, power, False)
    tl.store(sums + row, of_negatives * tl.sum(total, 1) + tl.where(label < 0, 0.0, loss), mask=row < rows)


@triton.jit(do_not_specialize=["grad_stride", "rows"])
def _backward(
    grad,
    grad_stride,
    logits,
    labels,
    scores,
    valid,
    slopes,
    rows,
    of_positives,
    of_negatives,
    gamma,
    kind: tl.constexpr,
    power: tl.constexpr,
    detach: tl.constexpr,
    ignored: tl.constexpr,
    classes: tl.constexpr,
    columns: tl.constexpr,
    tile_rows: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * tile_rows + tl.arange(0, tile_rows)
    kept, label = _read_rows(labels, valid, row, rows, ignored, classes)
    start = logits + row * classes
    pull = tl.load(grad + row * grad_stride, mask=kept, other=0.0)
    _, slope = _at_label(start, scores, row, label, of_positives, of_negatives, gamma, kind, power, detach)
    of_label, of_others = pull * slope, pull * of_negatives
    for first in range(0, classes, columns):
        column = first + tl.arange(0, columns)
        x = _read_tile(start, column, kept, classes)
        others = of_others[:, None] * negative_slope(x, gamma, power, detach)
        result = tl.where(column[None, :] == label[:, None], of_label[:, None], others)
        inside = (row < rows)[:, None] & (column < classes)[None, :]
        place = slopes + row[:, None] * classes + column[None, :]
        tl.store(place, result.to(slopes.dtype.element_ty), mask=inside)


@triton.jit
def _read_rows(labels, valid, row, rows, ignored: tl.constexpr, classes: tl.constexpr):
    """Which rows count, and their labels: -1 for background and for what does not count."""
    kept = row < rows
    label = tl.load(labels + row, mask=kept, other=-1).to(tl.int64)
    if valid is not None:
        kept = kept & (tl.load(valid + row, mask=kept, other=0) != 0)
    if ignored is not None:
        kept = kept & (label != ignored)
    return kept, tl.where(kept & (label >= 0) & (label < classes), label, -1).to(tl.int32)


@triton.jit
def _read_tile(start, column, kept, classes: tl.constexpr):
    """Logits; where there are none or they do not count -inf, of which loss and slope are 0."""
    inside = kept[:, None] & (column < classes)[None, :]
    return tl.load(start[:, None] + column[None, :], mask=inside, other=float("-inf")).to(tl.float32)


@triton.jit
def _at_label(
    start,
    scores,
    row,
    label,
    of_positives,
    of_negatives,
    gamma,
    kind: tl.constexpr,
    power: tl.constexpr,
    detach: tl.constexpr,
):
    """Loss and slope of the labelled class; anything finite where there is none."""
    x = tl.load(start + label, mask=label >= 0, other=0.0).to(tl.float32)
    if scores is None:
        t = tl.full(x.shape, 1.0, tl.float32)
    else:
        t = tl.load(scores + row, mask=label >= 0, other=1.0).to(tl.float32)
    return soft_term(x, t, label >= 0, of_positives, of_negatives, gamma, kind, power, detach)
