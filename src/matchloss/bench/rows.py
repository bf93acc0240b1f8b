"""What is timed: a row is one operation on tensors of one size, and everybody who computes it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from torch import Tensor

Loss = Callable[[], Tensor]
"""Computes one number from tensors that it holds."""

Kind = Literal["ours", "plain torch", "compiled", "formula", "compiled formula", "peer"]
"""Ours, under `reference()`, through torch.compile; what people write by hand, and that compiled; a library's."""


class Variant(NamedTuple):
    """One of those who are timed."""

    call: Loss
    kind: Kind
    differs: str = ""
    """Why its value is another, by convention; empty where it has to be ours."""


@dataclass
class Row:
    """One operation at one size. Ours comes first; under `reference()` and compiled it is timed as well."""

    size: str
    ours: Loss
    leaf: Tensor | None
    """Where backward ends; None for what has no gradient."""
    options: Mapping[str, Loss] = field(default_factory=dict)
    """Further ways of ours, of the same value, such as dense targets in place of labels."""
    others: Mapping[str, Variant] = field(default_factory=dict)
    """Formulas and peers."""
    least_bytes: int | None = None
    """What must be read and written at least by forward and backward, where memory is the limit."""
    plain: bool = True
    """Whether the plain torch form ends in reasonable time at this size."""


def formula(call: Loss, differs: str = "") -> Variant:
    """What people write by hand."""
    return Variant(call, "formula", differs)


def peer(call: Loss, differs: str = "") -> Variant:
    """A library's own."""
    return Variant(call, "peer", differs)


def least_traffic(leaf: Tensor, *targets: Tensor) -> int:
    """Bytes of a loss that keeps nothing: it reads all in forward, and again in backward, and writes the gradient."""
    reads = leaf.nbytes + sum(target.nbytes for target in targets)
    return 2 * reads + leaf.nbytes


def dims(*numbers: int) -> str:
    """A size as people say it: 8 x 8400 x 80."""
    return " x ".join(map(str, numbers))
