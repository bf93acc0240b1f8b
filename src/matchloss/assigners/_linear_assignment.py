"""Rectangular linear assignment of many problems at once: a kernel for the CPU or the GPU, or scipy."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._core import has_numba, use_fast_path, use_triton

ROOM = 2.0**-40
"""Scales float64 costs, so that no sum of them overflows; a power of two changes no digit."""
MOST_ON_GPU = 4096
"""Rows, and columns, of a problem that its kernel holds in registers."""


@torch.library.custom_op("matchloss::linear_assignment", mutates_args=())
def linear_assignment(cost: Tensor, rows: Tensor) -> Tensor:
    """Give each row a column of its own, such that the sum of the costs is the least there is; without gradient.

    As many rows as can be get a column at a finite cost; which ones, and which columns, is decided by the sum. Where
    several assignments have the least sum, a row takes a free column before one it would have to take from another
    row, and of several the first; with more rows than columns it is the columns that choose. Scipy may settle ties
    otherwise.

    What is not finite is never assigned, and takes no digits from other costs: rows and columns without a finite cost
    are left out, and for single pairs stands a number that is just large enough for its problem.

    A custom operator: compilers call it without looking inside. A GPU solves its own problems, with the same result to
    the last tie, and the host does not wait. Only without a kernel, or with more than 4096 rows or columns a problem,
    all problems are copied to the host at once, for which it waits, and the result is copied back.

    Shapes:
        cost: (P, M, Q) float32 or float64, of P problems with M rows and Q columns.
        rows: (P, M) bool, False for rows that are not to be looked at.
        returns: (P, M) int64, the column of each row; -1 for rows that are False, have no finite cost, or are left.
    """
    # Asked of the rows: costs may be float64, in which the kernel computes.
    if use_triton(rows) and max(cost.shape[1:]) <= MOST_ON_GPU:
        from ..kernels.linear_assignment_cuda import assign_problems

        return assign_problems(_with_room(cost.detach()), rows)
    if cost.device.type != "cpu":
        cost = torch.where(rows.unsqueeze(-1), cost, torch.inf).cpu()  # one copy; a second would wait again
        return _assign(cost, torch.ones(rows.shape, dtype=torch.bool)).to(rows.device)
    return _assign(cost.detach(), rows)


@linear_assignment.register_fake
def _(cost: Tensor, rows: Tensor) -> Tensor:
    return torch.empty_like(rows, dtype=torch.int64, memory_format=torch.contiguous_format)


def _with_room(cost: Tensor) -> Tensor:
    return cost * ROOM if cost.dtype == torch.float64 else cost


def _assign(cost: Tensor, rows: Tensor) -> Tensor:
    """On the host."""
    cost = _with_room(cost)
    if use_fast_path() and has_numba():
        from ..kernels.linear_assignment_cpu import assign_problems

        return assign_problems(cost, rows)
    found = torch.full(rows.shape, -1)
    for problem, usable, result in zip(cost.numpy(), rows.numpy(), found.numpy(), strict=True):
        taking, taken = _assign_one(problem, usable)
        result[taking] = taken
    return found


def _assign_one(cost: NDArray[Any], usable: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of ``(M, Q)`` and the columns that they take."""
    from scipy.optimize import linear_sum_assignment  # here, since it would take longer to load than all of matchloss

    finite = np.isfinite(cost) & usable[:, None]
    rows, columns = np.flatnonzero(finite.any(1)), np.flatnonzero(finite.any(0))
    if not len(rows):
        return rows, columns
    apart = np.ix_(rows, columns)
    known, block = finite[apart], cost[apart].astype(np.float64)
    least, most = block[known].min(), block[known].max()
    # Dearer by this than any exchange of the other pairs could save: as many pairs as can be are finite.
    block = np.where(known, block, most + len(rows) * (most - least) + 1)
    turned = len(rows) > len(columns)
    lines = block.T if turned else block
    # Each line takes one place, whichever: as differences within it, a line of 1e30 is like any other.
    line, place = linear_sum_assignment(lines - lines.min(1, keepdims=True))
    row, column = (place, line) if turned else (line, place)
    pairs = known[row, column]
    return rows[row[pairs]], columns[column[pairs]]
