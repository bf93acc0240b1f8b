"""How often a call goes over its data: operators, and the bytes that they read and write. The same on every run."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ALLOCATES = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach", "lift_fresh")
WRITES_ONLY = (
    *("fill_", "zero_", "full", "full_like", "new_full", "zeros", "zeros_like", "new_zeros"),
    *("ones", "ones_like", "arange"),
)


class Traffic(NamedTuple):
    """Of one call. What a kernel for the CPU does inside itself is not seen, only the tensors around it."""

    operators: int
    bytes: int
    by_operator: dict[str, int]

    def units(self, values: Tensor) -> float:
        """Bytes as multiples of a tensor's own."""
        return self.bytes / (values.numel() * values.element_size())


def traffic_of(call: Callable[[], Any]) -> Traffic:
    """Run the call once before, so that whatever is made on first use is not counted."""
    call()
    with _Counter() as counter:
        call()
    return Traffic(counter.operators, sum(counter.by_operator.values()), counter.by_operator)


class _Counter(TorchDispatchMode):
    """Sees every operator below autograd, of the backward too; a view is free."""

    def __init__(self) -> None:
        super().__init__()
        self.operators = 0
        self.by_operator: dict[str, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in ALLOCATES or any(_is_view(returned) for returned in func._schema.returns):
            return result
        written = _tensors(result)
        read = [] if name in WRITES_ONLY else _tensors((args, kwargs))
        self.operators += 1
        self.by_operator[name] = self.by_operator.get(name, 0) + sum(map(_size, (*read, *written)))
        return result


def _is_view(returned: Any) -> bool:
    return returned.alias_info is not None and not returned.alias_info.is_write


def _tensors(values: Any) -> list[Tensor]:
    """Each once, however often it is named."""
    return list({id(value): value for value in tree_leaves(values) if isinstance(value, Tensor)}.values())


def _size(values: Tensor) -> int:
    """What lies in memory: along an expanded dimension there is one value."""
    count = 1
    for length, stride in zip(values.shape, values.stride(), strict=True):
        count *= length if stride else min(length, 1)
    return count * values.element_size()
