"""Binary cross entropy and sums of maps on a GPU: logits and targets are read once forward, and once backward.

A row is one class of one image. Forward, its programs add up its elements in turn, and what each has is summed in a
fixed order: equal inputs give equal bits. Backward the sigmoid is made again, since to read it would cost as much.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton import cdiv

from .focal_terms_cuda import probabilities

WIDTH = 1024
"""Elements at once, eight a thread: two loads of 16 bytes of float32, or one of half precision."""
PROGRAMS_AT_ONCE = 132 * 6
"""That the multiprocessors of an H100 or H200 hold; a fixed number, so that all GPUs sum alike."""


def read_maps(logits: Tensor, targets: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """``(N, C, P)`` cross entropy, 0 where not valid, and ``(N, C, 2)`` overlap and predicted.

    Args:
        logits: (N, C, P) float32 or half precision, of any strides.
        targets: (N, C, P) bools, integers or floats.
        valid: (N, C, P) bool, or None where all are.
    """
    images, classes, pixels = logits.shape
    loss = torch.empty(logits.shape, dtype=torch.float32, device=logits.device)
    rows, tiles = images * classes, cdiv(pixels, WIDTH)
    programs = max(min(tiles, PROGRAMS_AT_ONCE // max(rows, 1)), 1)
    parts = loss.new_zeros((images, classes, programs, 2))  # they are few
    if loss.numel() > 0:
        _read[(rows * programs,)](
            *_inputs(logits, targets, valid), loss, parts, programs, masked=valid is not None, width=WIDTH
        )
    return loss, parts.sum(2)


def write_gradient(
    grad_loss: Tensor, grad_sums: Tensor, logits: Tensor, targets: Tensor, valid: Tensor | None
) -> Tensor:
    """Gradient in the logits, in their dtype."""
    images, classes, pixels = logits.shape
    grad = torch.empty_like(logits)
    programs = cdiv(pixels, WIDTH)
    if grad.numel() > 0:
        _write[(images * classes * programs,)](
            *_inputs(logits, targets, valid),
            grad,
            *grad.stride(),
            grad_loss,
            *grad_loss.stride(),
            grad_sums.contiguous(),
            programs,
            masked=valid is not None,
            width=WIDTH,
        )
    return grad


def _inputs(logits: Tensor, targets: Tensor, valid: Tensor | None) -> tuple[object, ...]:
    """The arguments with which both kernels begin."""
    valid = targets if valid is None else valid
    return logits, *logits.stride(), targets, *targets.stride(), valid, *valid.stride(), *logits.shape[1:]


@triton.jit
def _read(
    logits,
    logits_image,
    logits_class,
    logits_pixel,
    targets,
    targets_image,
    targets_class,
    targets_pixel,
    valid,
    valid_image,
    valid_class,
    valid_pixel,
    classes,
    pixels,
    loss,
    parts,
    programs,
    masked: tl.constexpr,
    width: tl.constexpr,
):
    row = (tl.program_id(0) // programs).to(tl.int64)
    logits += row // classes * logits_image + row % classes * logits_class
    targets += row // classes * targets_image + row % classes * targets_class
    valid += row // classes * valid_image + row % classes * valid_class
    overlap = tl.zeros([width], tl.float32)
    predicted = tl.zeros([width], tl.float32)
    for tile in range(tl.program_id(0) % programs, tl.cdiv(pixels, width), programs):
        pixel = tile * width + tl.arange(0, width)
        x, t, counts = _pair(logits, logits_pixel, targets, targets_pixel, valid, valid_pixel, pixel, pixels, masked)
        log, p, _ = probabilities(x)
        cross_entropy = tl.maximum(x, 0.0) - x * t + log
        tl.store(loss + row * pixels + pixel, tl.where(counts, cross_entropy, 0.0), mask=pixel < pixels)
        overlap += tl.where(counts, p * t, 0.0)
        predicted += tl.where(counts, p, 0.0)
    parts += 2 * tl.program_id(0).to(tl.int64)
    tl.store(parts, tl.sum(overlap, 0))
    tl.store(parts + 1, tl.sum(predicted, 0))


@triton.jit
def _write(
    logits,
    logits_image,
    logits_class,
    logits_pixel,
    targets,
    targets_image,
    targets_class,
    targets_pixel,
    valid,
    valid_image,
    valid_class,
    valid_pixel,
    classes,
    pixels,
    grad,
    grad_image,
    grad_class,
    grad_pixel,
    grad_loss,
    of_image,
    of_class,
    of_pixel,
    grad_sums,
    programs,
    masked: tl.constexpr,
    width: tl.constexpr,
):
    row = (tl.program_id(0) // programs).to(tl.int64)
    logits += row // classes * logits_image + row % classes * logits_class
    targets += row // classes * targets_image + row % classes * targets_class
    valid += row // classes * valid_image + row % classes * valid_class
    grad += row // classes * grad_image + row % classes * grad_class
    grad_loss += row // classes * of_image + row % classes * of_class
    pixel = tl.program_id(0) % programs * width + tl.arange(0, width)
    x, t, counts = _pair(logits, logits_pixel, targets, targets_pixel, valid, valid_pixel, pixel, pixels, masked)
    _, p, q = probabilities(x)
    of_loss = tl.load(grad_loss + pixel.to(tl.int64) * of_pixel, mask=counts, other=0.0)
    of_overlap, of_predicted = tl.load(grad_sums + 2 * row), tl.load(grad_sums + 2 * row + 1)
    # Not p - t: where p is nearly 1 it would have lost the digits of q.
    slope = of_loss * (p * (1.0 - t) - q * t) + p * q * (of_overlap * t + of_predicted)
    tl.store(grad + pixel.to(tl.int64) * grad_pixel, tl.where(counts, slope, 0.0), mask=pixel < pixels)


@triton.jit
def _pair(logits, logits_pixel, targets, targets_pixel, valid, valid_pixel, pixel, pixels, masked: tl.constexpr):
    """Logits and targets in float32, 0 where they do not count, and where they do; the rest is not read."""
    counts, place = pixel < pixels, pixel.to(tl.int64)
    if masked:
        counts = counts & (tl.load(valid + place * valid_pixel, mask=counts, other=0) != 0)
    x = tl.load(logits + place * logits_pixel, mask=counts, other=0.0).to(tl.float32)
    return x, tl.load(targets + place * targets_pixel, mask=counts, other=0).to(tl.float32), counts
