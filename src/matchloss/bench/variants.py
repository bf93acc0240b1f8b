"""Who is timed in a row: ours by default, in plain torch and compiled, then formulas, compiled too, and peers."""

import torch
from torch import Tensor

from .._core import reference
from .rows import Loss, Row, Variant

OURS = "matchloss"


def variants_of(row: Row, *, compiled: bool) -> dict[str, Variant]:
    """Ours first: the others are compared with it."""
    found = {OURS: Variant(row.ours, "ours")}
    found |= {name: Variant(call, "ours") for name, call in row.options.items()}
    if row.plain:
        found["matchloss, plain torch"] = Variant(in_plain_torch(row.ours), "plain torch")
    if compiled:
        found["matchloss, compiled"] = Variant(through_compiler(row.ours), "compiled")
    for name, one in row.others.items():
        found[name] = one
        if compiled and one.kind == "formula":
            found[f"{name}, compiled"] = Variant(through_compiler(one.call), "compiled formula", one.differs)
    return found


def in_plain_torch(loss: Loss) -> Loss:
    """The specification: no kernel, no analytic gradient."""

    def plain() -> Tensor:
        with reference():
            return loss()

    return plain


def through_compiler(loss: Loss) -> Loss:
    """Compiled at the first call. Each row begins with an empty cache: closures of one function share its limit."""
    whole: Loss = torch.compile(loss, dynamic=False)
    return whole
