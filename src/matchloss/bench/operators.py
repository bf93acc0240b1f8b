"""How many operators forward and backward call: what an eager GPU launches, and what a user waits for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .measure import run
from .rows import Loss


class _Count(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what reaches the backend; views move nothing and do not count."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.number: int = 0

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Count one and go on."""
        self.number += not func.is_view
        call: Callable[..., Any] = func
        return call(*args, **(kwargs or {}))


def count_operators(loss: Loss, leaf: Tensor | None) -> int:
    """Of forward and backward; a custom operator is one, whatever it does inside."""
    with _Count() as count:
        run(loss, leaf)
    number: int = count.number
    return number
