"""The focal family of dense targets on a GPU, element by element or in sums: what is there is read once.

Nothing is kept for the gradient, which is computed anew and written once.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .focal_terms_cuda import powers, soft_term, weights

WARPS = 4
"""For 1024 elements: eight a thread are 16 bytes of half precision, or twice 16 of float32."""


def take_elements(
    logits: Tensor,
    targets: Tensor,
    kind: str,
    alpha: float | None,
    gamma: float,
    summed: bool,
    block: int,
) -> Tensor:
    """Float32 losses of the logits' shape, which targets have too; or the sums of ``block`` of them at a time."""
    count = logits.numel()
    grid = (triton.cdiv(count, block),)
    losses = torch.empty(grid if summed else logits.shape, device=logits.device)
    if count == 0:
        return losses
    with torch.cuda.device_of(logits):  # type: ignore[no-untyped-call]
        _forward[grid](
            logits.contiguous(),
            targets.contiguous(),
            losses,
            count,
            *weights(kind, alpha),
            gamma,
            kind=kind,
            power=powers(gamma),
            summed=summed,
            block=block,
            num_warps=WARPS,
        )
    return losses


def slopes_of_elements(
    grad: Tensor,
    logits: Tensor,
    targets: Tensor,
    kind: str,
    alpha: float | None,
    gamma: float,
    detach: bool,
    summed: bool,
    block: int,
) -> Tensor:
    """Gradient in the logits, in their dtype, of a gradient in what `take_elements` returned; it is rounded last."""
    count = logits.numel()
    slopes = torch.empty_like(logits, memory_format=torch.contiguous_format)
    if count == 0:
        return slopes
    with torch.cuda.device_of(logits):  # type: ignore[no-untyped-call]
        _backward[(triton.cdiv(count, block),)](
            grad if summed else grad.contiguous(),
            grad.stride(0) if summed else 1,  # 0 behind another sum: its gradient is one number
            logits.contiguous(),
            targets.contiguous(),
            slopes,
            count,
            *weights(kind, alpha),
            gamma,
            kind=kind,
            power=powers(gamma),
            detach=detach,
            summed=summed,
            block=block,
            num_warps=WARPS,
        )
    return slopes


@triton.jit
def _forward(
    logits,
    targets,
    losses,
    count,
    of_positives,
    of_negatives,
    gamma,
    kind: tl.constexpr,
    power: tl.constexpr,
    summed: tl.constexpr,
    block: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    place = program * block + tl.arange(0, block)
    inside = place < count
    x, t = _read(logits, targets, place, inside)
    loss, _ = soft_term(x, t, t > 0, of_positives, of_negatives, gamma, kind, power, False)
    if summed:
        tl.store(losses + program, tl.sum(tl.where(inside, loss, 0.0)))
    else:
        tl.store(losses + place, loss, mask=inside)


@triton.jit
def _backward(
    grad,
    grad_stride,
    logits,
    targets,
    slopes,
    count,
    of_positives,
    of_negatives,
    gamma,
    kind: tl.constexpr,
    power: tl.constexpr,
    detach: tl.constexpr,
    summed: tl.constexpr,
    block: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    place = program * block + tl.arange(0, block)
    inside = place < count
    x, t = _read(logits, targets, place, inside)
    if summed:
        pull = tl.load(grad + program * grad_stride)
    else:
        pull = tl.load(grad + place, mask=inside, other=0.0)
    _, slope = soft_term(x, t, t > 0, of_positives, of_negatives, gamma, kind, power, detach)
    tl.store(slopes + place, (pull * slope).to(slopes.dtype.element_ty), mask=inside)


@triton.jit
def _read(logits, targets, place, inside):
    x = tl.load(logits + place, mask=inside, other=0.0).to(tl.float32)
    return x, tl.load(targets + place, mask=inside, other=0.0).to(tl.float32)
