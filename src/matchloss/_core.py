"""What all losses share: one reduction, one normaliser, the static checks, the choice of the plain formula."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

Reduction = Literal["none", "sum", "mean"]

TRITON = find_spec("triton") is not None
INTERPRETED = TRITON and os.environ.get("TRITON_INTERPRET") == "1"
"""Triton runs the kernels for a GPU on the CPU, for tests; it too looks at this when a kernel is defined."""

_reference: ContextVar[bool] = ContextVar("matchloss_reference", default=False)


@contextmanager
def reference() -> Iterator[None]:
    """Select the plain torch formula of every loss inside the ``with`` block.

    The plain formula is the specification: autograd of ordinary operators, no analytic gradient and no kernel. Compiled
    code keeps what was selected when it was traced.

    Example:
        >>> import torch, matchloss
        >>> logits = torch.zeros(1, 2, 3)
        >>> with matchloss.reference():
        ...     matchloss.losses.cross_entropy_loss(logits, torch.zeros(1, 3, dtype=torch.long))
        tensor(0.6931)
    """
    token = _reference.set(True)
    try:
        yield
    finally:
        _reference.reset(token)


def use_fast_path() -> bool:
    """Whether an analytic gradient or a kernel may replace the plain formula.

    A compiler fuses the plain formula itself, and the function transforms of ``torch.func`` need it.
    """
    if torch.compiler.is_compiling() or _reference.get():
        return False
    return not torch._C._are_functorch_transforms_active()


def use_triton(values: Tensor) -> bool:
    """Whether a kernel for a GPU takes these values. Compiled code calls it too: it does what no compiler finds.

    The kernels compute in float32; float64 asks for more.
    """
    is_there = TRITON and values.device.type == ("cpu" if INTERPRETED else "cuda")
    return is_there and values.dtype != torch.float64 and _selects_kernels()


def _selects_kernels() -> bool:
    """A compiler asks once, when it traces: it cannot look into a context variable."""
    return not (_reference.get() or torch._C._are_functorch_transforms_active())


_selects_kernels._dynamo_marked_constant = True  # type: ignore[attr-defined]
"""What the decorator torch.compiler.assume_constant_result does; but that imports the compiler, for seconds."""


@cache
def has_numba() -> bool:
    """Whether the kernels for the CPU can be had; without numba everything works, more slowly."""
    return find_spec("numba") is not None


def reduce_loss(
    caller: str,
    loss: Tensor,
    reduction: Reduction,
    *,
    valid: Tensor | None = None,
    weights: Tensor | None = None,
    total: Tensor | None = None,
) -> Tensor:
    """Reduce elementwise losses; the only place where matchloss sums or averages elements.

    ``mean`` divides by the number of ``valid`` elements, or by ``total`` where a loss has another denominator.
    Nothing valid gives 0, still connected to the graph.
    """
    check_option(caller, "reduction", reduction, ("none", "sum", "mean"))
    if weights is not None:
        loss = loss * expand_to(caller, "weights", weights, loss).to(loss.dtype)
    if valid is not None:
        valid = expand_to(caller, "mask", valid, loss)
        loss = torch.where(valid, loss, 0.0)  # not `* valid`: 0 * inf is NaN
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    if total is None:
        if valid is None:
            return loss.sum() / max(loss.numel(), 1)
        total = valid.sum()
    return loss.sum() / or_one(total.to(loss.dtype))


def or_one(total: Tensor) -> Tensor:
    """Turn a zero denominator into 1, so that nothing over nothing is 0; a NaN stays to be seen."""
    return torch.where(total == 0, 1.0, total)


def normalizer(total: Tensor, *, at_least: float | Tensor = 1.0) -> Tensor:
    """Denominator that makes W processes on W parts of a batch equal to one process on the whole.

    Distributed data parallel averages the gradients of the ranks, hence the division by the world size. The floor comes
    *before* that division: with the floor after it (as DETR has it) one object on eight ranks would count as eight.

    Args:
        total: what this rank counted, of any shape; several counts travel in one all-reduce.
        at_least: floor of the total over ranks, or one for each count; a total of zero always becomes 1.
    """
    total = total.detach()
    world_size = 1
    if is_distributed():
        world_size = dist.get_world_size()
        total = total.clone()
        dist.all_reduce(total)
    return or_one(total).clamp(min=at_least) / world_size


def is_distributed() -> bool:
    """Whether there are other ranks to sum with."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def sum_over_ranks(statistic: Tensor) -> Tensor:
    """Differentiable sum of a statistic over ranks; each rank's gradient then counts every rank's loss."""
    if not is_distributed():
        return statistic
    total: Tensor = _SumOverRanks.apply(statistic)  # type: ignore[no-untyped-call]
    return total


class _SumOverRanks(torch.autograd.Function):
    """All-reduce whose gradient is an all-reduce too; torch's own one is deprecated or private."""

    @staticmethod
    def forward(ctx: Any, statistic: Tensor) -> Tensor:
        total = statistic.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _SumOverRanks.forward(ctx, grad)


def to_compute(values: Tensor) -> Tensor:
    """Widen half precision to float32, in which all losses compute; float64 stays."""
    return values.to(compute_dtype(values))


def compute_dtype(predictions: Tensor) -> torch.dtype:
    """The dtype in which a loss of these predictions is computed and returned; targets follow it."""
    return torch.float64 if predictions.dtype == torch.float64 else torch.float32


def keep_valid(values: Tensor, valid: Tensor | None) -> Tensor:
    """Put 0 where masked out, *before* any arithmetic: a NaN or inf there reaches neither value nor gradient."""
    return values if valid is None else torch.where(valid, values, 0.0)


def both(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """Logical and of two optional masks."""
    if first is None or second is None:
        return second if first is None else first
    return first & second


def no_autocast(values: Tensor) -> AbstractContextManager[object]:
    """Keep products in full precision: autocast would round a float32 matrix product to half."""
    device = values.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def check_option(caller: str, name: str, value: object, choices: Sequence[object]) -> None:
    """Reject an option that is none of its choices."""
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{caller}: expected {name} to be one of {listed}, got {value!r}")


def check_positive(caller: str, name: str, value: float, *, or_zero: bool = False) -> None:
    """Reject a number that must be positive (or at least not negative)."""
    if not (value >= 0 if or_zero else value > 0):
        raise ValueError(f"{caller}: expected {name} {'>= 0' if or_zero else '> 0'}, got {value}")


def check_float(caller: str, name: str, values: Tensor) -> None:
    """Reject integer predictions: they carry no gradient and are mostly swapped arguments."""
    if not isinstance(values, Tensor):
        raise ValueError(f"{caller}: expected {name} to be a tensor, got {type(values).__name__}")
    if not values.is_floating_point():
        raise ValueError(f"{caller}: expected {name} of a floating dtype, got {dtype_name(values)}")


def check_same_shape(caller: str, tensors: Mapping[str, Tensor]) -> None:
    """Reject tensors of different shapes; a silent broadcast is the commonest way to a wrong loss."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name}={shape}" for name, shape in shapes.items())
        raise ValueError(f"{caller}: expected equal shapes, got {listed}")


def check_mask(caller: str, mask: Tensor | None) -> None:
    """Reject a mask that is not boolean: 255 or 0.5 has no clear meaning."""
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError(f"{caller}: expected mask of dtype bool (False = leave out), got {dtype_name(mask)}")


def expand_to(caller: str, name: str, values: Tensor, like: Tensor) -> Tensor:
    """Broadcast ``values`` to the shape of ``like``, or say which shapes do not fit."""
    try:
        return values.expand(like.shape)
    except RuntimeError:
        got, wanted = tuple(values.shape), tuple(like.shape)
        raise ValueError(f"{caller}: expected {name} broadcastable to {wanted}, got {got}") from None


def dtype_name(values: Tensor) -> str:
    """``torch.int64`` as ``int64``."""
    return str(values.dtype).removeprefix("torch.")


def as_buffer(values: Tensor | Sequence[float] | None) -> Tensor | None:
    """Class weights as a module's buffer holds them."""
    return None if values is None else torch.as_tensor(values, dtype=torch.get_default_dtype())


class LossModule(nn.Module):
    """Base of all loss modules: nothing but a readable ``repr`` of their options."""

    def extra_repr(self) -> str:
        """List the options, so that ``print(criterion)`` tells what is trained."""
        options = {name: value for name, value in vars(self).items() if not name.startswith("_") and name != "training"}
        options |= {name: buffer.tolist() for name, buffer in self.named_buffers(recurse=False)}
        return ", ".join(f"{name}={value!r}" for name, value in options.items())
