"""Softmax, log probability of labels and sums by class on a GPU: logits are read once forward, and once backward.

A tile is all classes of some pixels, in registers. Forward, the programs of an image add up its tiles one after the
other, and what each has is summed in a fixed order: equal inputs give equal bits. Neither probabilities nor one-hot
labels are ever written.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton import cdiv, next_power_of_2

MULTIPROCESSORS = 132
"""Of an H100 or H200. Fixed, so that all GPUs have as many partial sums, and sum alike."""

STRIDES = [
    "image_stride",
    "class_stride",
    "pixel_stride",
    "grad_image_stride",
    "grad_class_stride",
    "grad_pixel_stride",
]
# Triton would make other code where one of these happens to be a multiple of 16: threads with four pixels, and too few
# registers for them. That a stride is 1 it shall know: threads then lie along the classes, if memory does.
UNALIGNED = [*STRIDES, "of_image_stride", "of_pixel_stride", "pixels", "programs"]


class TileShape(NamedTuple):
    """How many classes and pixels a program holds at once, and by how many warps."""

    block: int
    width: int
    warps: int


def tile_shape(classes: int, class_stride: int) -> TileShape:
    """A thread has 16 elements, or all classes of one pixel where these are up to 32 and lie apart.

    Forward, it has three sums of each element too, and more of them would not fit into its registers.
    """
    block = next_power_of_2(classes)
    if block == 32 and class_stride != 1:
        return TileShape(block, 128, 4)
    warps = 4 if block <= 64 else 8
    return TileShape(block, 16 * 32 * warps // block, warps)


def read_statistics(logits: Tensor, labels: Tensor, valid: Tensor | None, with_sums: bool) -> tuple[Tensor, Tensor]:
    """``(N, P)`` log probabilities, and ``(N, 3, C)`` overlap, predicted and actual; without sums ``(N, 3, 0)``.

    Args:
        logits: (N, C, P) float32 or half precision, of any strides.
        labels: (N, P) integers, of which only valid ones are looked at.
        valid: (N, P) bool, or None where all are.
        with_sums: whether there are sums.
    """
    images, classes, pixels = logits.shape
    log_prob = torch.empty((images, pixels), dtype=torch.float32, device=logits.device)
    shape = tile_shape(classes, logits.stride(1))
    programs = cdiv(pixels, shape.width)
    if with_sums:  # no more than run at once; registers leave room for that many
        at_once = MULTIPROCESSORS * (16 if shape.block <= 16 else 8) // shape.warps
        programs = max(min(programs, at_once // max(images, 1)), 1)
    parts = log_prob.new_empty((images, programs, 3, classes if with_sums else 0))
    if images * pixels > 0:
        _read[(images * programs,)](
            *_inputs(logits, labels, valid),
            log_prob,
            parts,
            programs,
            classes=classes,
            masked=valid is not None,
            with_sums=with_sums,
            block=shape.block,
            width=shape.width,
            num_warps=shape.warps,
        )
        return log_prob, parts.sum(1)
    return log_prob, parts.new_zeros((images, *parts.shape[2:]))


def write_gradient(
    grad_log_prob: Tensor, grad_sums: Tensor, logits: Tensor, labels: Tensor, valid: Tensor | None
) -> Tensor:
    """Gradient in the logits, in their dtype; ``grad_sums`` is ``(N, 3, C)``, or ``(N, 3, 0)`` if there are none."""
    images, classes, pixels = logits.shape
    grad = torch.empty_like(logits)
    shape = tile_shape(classes, logits.stride(1))
    programs = cdiv(pixels, shape.width)
    if images * pixels > 0:
        _write[(images * programs,)](
            *_inputs(logits, labels, valid),
            grad,
            *grad.stride(),
            grad_log_prob,
            *grad_log_prob.stride(),
            grad_sums.contiguous(),
            programs,
            classes=classes,
            masked=valid is not None,
            with_sums=grad_sums.shape[2] > 0,
            block=shape.block,
            width=shape.width,
            num_warps=shape.warps,
        )
    return grad


def _inputs(logits: Tensor, labels: Tensor, valid: Tensor | None) -> tuple[object, ...]:
    """The arguments with which both kernels begin."""
    labels = labels.contiguous()
    return logits, *logits.stride(), labels, labels if valid is None else valid.contiguous(), logits.shape[2]


@triton.jit(do_not_specialize_on_alignment=UNALIGNED)
def _read(
    logits,
    image_stride,
    class_stride,
    pixel_stride,
    labels,
    valid,
    pixels,
    log_prob,
    parts,
    programs,
    classes: tl.constexpr,
    masked: tl.constexpr,
    with_sums: tl.constexpr,
    block: tl.constexpr,
    width: tl.constexpr,
):
    image = (tl.program_id(0) // programs).to(tl.int64)
    logits += image * image_stride
    labels, valid, log_prob = labels + image * pixels, valid + image * pixels, log_prob + image * pixels
    index = tl.arange(0, block)
    overlap = tl.zeros([block, width], tl.float32)
    predicted = tl.zeros([block, width], tl.float32)
    actual = tl.zeros([block, width], tl.int32)
    for tile in range(tl.program_id(0) % programs, tl.cdiv(pixels, width), programs):
        pixel = tile * width + tl.arange(0, width)
        label, counts = _label_of(labels, valid, pixel, pixels, classes, masked)
        probs, own = _softmax(logits, class_stride, pixel_stride, pixel, label, counts, classes, block)
        tl.store(log_prob + pixel, own, mask=pixel < pixels)
        if with_sums:
            is_label = index[:, None] == label[None, :]
            overlap += tl.where(is_label, tl.exp(own)[None, :], 0.0)
            predicted += probs
            actual += is_label.to(tl.int32)
    if with_sums:
        parts += tl.program_id(0).to(tl.int64) * 3 * classes + index
        tl.store(parts, tl.sum(overlap, 1), mask=index < classes)
        tl.store(parts + classes, tl.sum(predicted, 1), mask=index < classes)
        tl.store(parts + 2 * classes, tl.sum(actual, 1).to(tl.float32), mask=index < classes)


@triton.jit(do_not_specialize_on_alignment=UNALIGNED)
def _write(
    logits,
    image_stride,
    class_stride,
    pixel_stride,
    labels,
    valid,
    pixels,
    grad,
    grad_image_stride,
    grad_class_stride,
    grad_pixel_stride,
    grad_log_prob,
    of_image_stride,
    of_pixel_stride,
    grad_sums,
    programs,
    classes: tl.constexpr,
    masked: tl.constexpr,
    with_sums: tl.constexpr,
    block: tl.constexpr,
    width: tl.constexpr,
):
    image = (tl.program_id(0) // programs).to(tl.int64)
    logits += image * image_stride
    labels, valid = labels + image * pixels, valid + image * pixels
    pixel, index = tl.program_id(0) % programs * width + tl.arange(0, width), tl.arange(0, block)
    label, counts = _label_of(labels, valid, pixel, pixels, classes, masked)
    probs, own = _softmax(logits, class_stride, pixel_stride, pixel, label, counts, classes, block)
    of_pixel = grad_log_prob + image * of_image_stride + pixel.to(tl.int64) * of_pixel_stride
    of_label = tl.load(of_pixel, mask=counts, other=0.0)
    if with_sums:
        grad_sums += image * 3 * classes
        of_label += tl.load(grad_sums + label, mask=label >= 0, other=0.0) * tl.exp(own)
        of_class = tl.load(grad_sums + classes + index, mask=index < classes, other=0.0)[:, None]
        slopes = probs * (of_class - (tl.sum(of_class * probs, 0) + of_label)[None, :])
    else:
        slopes = probs * -of_label[None, :]
    slopes += tl.where(index[:, None] == label[None, :], of_label[None, :], 0.0)
    grad += image * grad_image_stride + pixel[None, :].to(tl.int64) * grad_pixel_stride
    inside = (index < classes)[:, None] & (pixel < pixels)[None, :]
    tl.store(grad + index[:, None].to(tl.int64) * grad_class_stride, slopes, mask=inside)


@triton.jit
def _label_of(labels, valid, pixel, pixels, classes: tl.constexpr, masked: tl.constexpr):
    """Labels, -1 where nothing counts or there is no such class; and where pixels count."""
    counts = pixel < pixels
    if masked:
        counts = counts & (tl.load(valid + pixel, mask=counts, other=0) != 0)
    label = tl.load(labels + pixel, mask=counts, other=0)
    is_class = counts & (label >= 0) & (label < classes)  # before they are cut to 32 bits
    return tl.where(is_class, label.to(tl.int32), -1), counts


@triton.jit
def _softmax(logits, class_stride, pixel_stride, pixel, label, counts, classes: tl.constexpr, block: tl.constexpr):
    """Probabilities ``[block, width]`` and the labels' log probability, 0 where pixels do not count."""
    index = tl.arange(0, block)
    logits += pixel.to(tl.int64) * pixel_stride
    rows = logits[None, :] + index[:, None].to(tl.int64) * class_stride
    # What does not count is not read, so that a NaN there reaches nothing.
    x = tl.load(rows, mask=(index < classes)[:, None] & counts[None, :], other=float("-inf")).to(tl.float32)
    # The label's own logit again, of which the cache knows: cheaper than to look for it in every class.
    own = tl.load(logits + label.to(tl.int64) * class_stride, mask=label >= 0, other=float("nan")).to(tl.float32)
    largest = tl.where(counts, tl.max(x, 0), 0.0)
    # Of classes that only fill up the tile nothing is computed: with their number, a compiler knows which these are.
    probs = tl.where((index < classes)[:, None], tl.exp(x - largest[None, :]), 0.0)
    total = tl.where(counts, tl.sum(probs, 0), 1.0)
    return probs * (1.0 / total)[None, :], tl.where(counts, own - largest - tl.log(total), 0.0)
