"""Rectangular linear assignment of many problems at once: scipy, or on the CPU a kernel."""

import numpy as np
import torch
from torch import Tensor

from .._core import has_numba, use_fast_path

ROOM = 2.0**-40
"""Scales float64 costs, so that no sum of them overflows; a power of two changes no digit."""


@torch.library.custom_op("matchloss::linear_assignment", mutates_args=())
def linear_assignment(cost: Tensor, rows: Tensor) -> Tensor:
    """Give each row a column of its own, such that the sum of the costs is the least there is; no gradient.

    As many rows as can be get a column at a finite cost; which ones, and which columns, is decided by the sum. Where
    several assignments have it, a row takes a free column before one it would have to take from another row, and of
    equal ones the first; with more rows than columns it is the columns that choose. Scipy may settle ties otherwise.

    What is not finite is never assigned and takes no digits from other costs: rows and columns without a finite cost
    are left out, and for single pairs stands a number just large enough for its problem.

    Tensors on a device are copied to the host once, all problems together, and the result back; so the host waits.

    Shapes:
        cost: (P, M, Q) float32 or float64, of P problems with M rows and Q columns.
        rows: (P, M) bool, False for rows that are not to be looked at.
        returns: (P, M) int64, the column of each row; -1 for rows that are False, without a finite cost, or left over.
    """
    # Left-out rows as infinite costs are recognised on the host: one copy instead of two.
    if cost.device.type != "cpu":
        apart = torch.where(rows.unsqueeze(-1), cost.detach(), torch.inf).cpu()
        return linear_assignment(apart, torch.ones(rows.shape, dtype=torch.bool)).to(cost.device)
    cost = cost.detach() * ROOM if cost.dtype == torch.float64 else cost.detach()
    if cost.numel() and use_fast_path() and has_numba():
        from ..kernels.linear_assignment_cpu import assign_problems

        return assign_problems(cost, rows)
    found = torch.full(rows.shape, -1)
    for problem, usable, result in zip(cost.numpy(), rows.numpy(), found.numpy(), strict=True):
        targets, queries = _assign(problem, usable)
        result[targets] = queries
    return found


@linear_assignment.register_fake
def _(cost: Tensor, rows: Tensor) -> Tensor:
    return torch.empty_like(rows, dtype=torch.int64)


def _assign(cost: "np.ndarray", usable: "np.ndarray") -> tuple["np.ndarray", "np.ndarray"]:
    """Rows and the columns they take, of one problem."""
    from scipy.optimize import linear_sum_assignment  # here, since it would take longer to load than all of matchloss

    finite = np.isfinite(cost) & usable[:, None]
    rows, columns = np.flatnonzero(finite.any(1)), np.flatnonzero(finite.any(0))
    known = finite[np.ix_(rows, columns)]
    block = cost[np.ix_(rows, columns)].astype(np.float64)
    if not known.all():
        least, most = block[known].min(), block[known].max()
        # Dearer by this than any exchange of the other pairs could save: as many pairs as can be are finite.
        block = np.where(known, block, most + len(rows) * (most - least) + 1)
    if len(rows) > len(columns):
        block = block.T
    if block.size:
        # Each line gets a place, whichever it is: less its least cost, a line of 1e30 is as good as another.
        block = block - block.min(1, keepdims=True)
    line, place = linear_sum_assignment(block)
    r, c = (place, line) if len(rows) > len(columns) else (line, place)
    r, c = r[known[r, c]], c[known[r, c]]
    return rows[r], columns[c]
