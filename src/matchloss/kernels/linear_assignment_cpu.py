"""Many linear assignments on the CPU, by shortest augmenting paths over costs that lie row by row.

Each row first takes its cheapest column where that is free; the few others look for a path of rows that give way.
Sums are made in float64, from differences to a cost of the same row: a row of 1e30 is then like any other, while in a
potential of 1e30 whatever is added to it would get lost.
"""

import threading
from itertools import pairwise

import numpy as np
import torch
from numba import njit
from torch import Tensor

COSTS_A_THREAD = 2**18
"""Fewer are read before a thread has started."""
STEP = 32
"""Columns of which the least is found at once, without a branch."""


def assign_problems(cost: Tensor, rows: Tensor) -> Tensor:
    """``(P, M)`` int64, -1 for none, of costs ``(P, M, Q)`` float32 or float64 and the rows ``(P, M)`` that count.

    The problems are shared by as many threads as torch uses; the kernel lets go of the interpreter meanwhile.
    """
    found = torch.full(rows.shape, -1)
    costs, usable, result = cost.contiguous().numpy(), rows.contiguous().numpy(), found.numpy()
    bits = costs.view(np.int32 if costs.dtype == np.float32 else np.int64)
    infinity = costs.dtype.type(np.inf).view(bits.dtype)
    work = costs.shape[2] * usable.sum(1).cumsum()
    threads = min(torch.get_num_threads(), 1 + int(work[-1]) // COSTS_A_THREAD) if len(work) else 1
    ends = [int(np.searchsorted(work, work[-1] * part / threads)) for part in range(1, threads)]
    blocks = [(costs, bits, infinity, usable, result, *block) for block in pairwise((0, *ends, len(costs)))]
    others = [threading.Thread(target=_assign_block, args=block) for block in blocks[1:]]
    for thread in others:
        thread.start()
    _assign_block(*blocks[0])
    for thread in others:
        thread.join()
    return found


@njit(nogil=True, cache=True)
def _assign_block(costs, bits, infinity, usable, found, begin, end):  # type: ignore[no-untyped-def]
    targets, queries = costs.shape[1:]
    rows, taken = np.empty(targets, np.int64), np.empty(targets, np.int64)
    for p in range(begin, end):
        count, broken = 0, False
        for t in range(targets):
            if usable[p, t]:
                lost = _count_broken(bits[p, t], infinity)
                if lost < queries:
                    rows[count] = t
                    count += 1
                    broken |= lost > 0
        if broken or count > queries:
            _assign_apart(costs[p], rows[:count], found[p])
        else:
            _assign(costs[p], rows[:count], taken)
            for r in range(count):
                found[p, rows[r]] = taken[r]


@njit(nogil=True, cache=True)
def _count_broken(bits, infinity):  # type: ignore[no-untyped-def]
    """How many of a row are infinite or NaN: those with all bits of the exponent set."""
    count = 0
    for j in range(len(bits)):
        count += (bits[j] & infinity) == infinity
    return count


@njit(nogil=True, cache=True)
def _assign_apart(cost, rows, found):  # type: ignore[no-untyped-def]
    """Copy what can be matched, the shorter side as rows; a sentinel in place of single pairs that are not finite."""
    columns = np.empty(cost.shape[1], np.int64)
    count, least, most = 0, np.inf, -np.inf
    for j in range(cost.shape[1]):
        known = False
        for r in range(len(rows)):
            value = np.float64(cost[rows[r], j])
            if np.isfinite(value):
                known, least, most = True, min(least, value), max(most, value)
        if known:
            columns[count] = j
            count += 1
    columns = columns[:count]
    # Dearer by this than any exchange of the other pairs could save: as many pairs as can be are finite.
    sentinel = most + len(rows) * (most - least) + 1
    turned = len(rows) > count
    lines, places = (columns, rows) if turned else (rows, columns)
    block = np.empty((len(lines), len(places)))
    for i in range(len(lines)):
        for j in range(len(places)):
            value = np.float64(cost[places[j], lines[i]] if turned else cost[lines[i], places[j]])
            block[i, j] = value if np.isfinite(value) else sentinel
    taken = np.empty(len(lines), np.int64)
    _assign(block, np.arange(len(lines)), taken)
    for i in range(len(lines)):
        t, q = (places[taken[i]], lines[i]) if turned else (lines[i], places[taken[i]])
        if np.isfinite(cost[t, q]):
            found[t] = q


@njit(nogil=True, cache=True)
def _assign(cost, rows, taken):  # type: ignore[no-untyped-def]
    """Write the column that each row takes, of finite costs with as many columns as rows at least."""
    columns = cost.shape[1]
    holder = np.full(columns, -1)
    waiting, count = np.empty(len(rows), np.int64), 0
    for r in range(len(rows)):
        j = _cheapest(cost[rows[r]])
        taken[r] = j
        if holder[j] < 0:
            holder[j] = r
        else:
            waiting[count] = r
            count += 1
    if count == 0:
        return
    price, away, before = np.zeros(columns), np.empty(columns), np.empty(columns, np.int64)
    done, base = np.empty(len(rows), np.int64), np.empty(len(rows))
    for n in range(count):
        away[:] = np.inf
        _make_room(cost, rows, waiting[n], taken, holder, price, away, before, done, base)


@njit(nogil=True, cache=True)
def _make_room(cost, rows, start, taken, holder, price, away, before, done, base):  # type: ignore[no-untyped-def]
    """Find the shortest path from a row to a free column, and let every row on it move on by one.

    ``away`` is how far each column is, and ``before`` from which row. A column that is done gets a price of minus
    infinity until the end, so that nothing reaches it again; ``base`` keeps the price it had, plus how far it was.
    """
    row, column, ahead, count = start, taken[start], 0.0, 0
    while True:
        costs = cost[rows[row]]
        least = _reach(costs, np.float64(costs[column]), ahead, row, price, away, before)
        column = _first(away, least, holder)
        row = holder[column]
        if row < 0:
            break
        ahead = least + price[column]
        done[count], base[count] = column, ahead
        count += 1
        away[column], price[column] = np.inf, -np.inf
    for n in range(count):
        price[done[n]] = base[n] - least
    while row != start:
        row = before[column]
        holder[column] = row
        column, taken[row] = taken[row], column


@njit(nogil=True, cache=True, fastmath={"nnan", "nsz"})
def _reach(costs, own, ahead, row, price, away, before):  # type: ignore[no-untyped-def]
    """Shorten the ways that are shorter over this row, and return the shortest of all that are not done."""
    least = np.inf
    for j in range(len(costs)):
        way = (costs[j] - own) + (ahead - price[j])
        shorter = way < away[j]
        before[j] = row if shorter else before[j]
        way = way if shorter else away[j]
        away[j] = way
        least = way if way < least else least
    return least


@njit(nogil=True, cache=True)
def _first(away, least, holder):  # type: ignore[no-untyped-def]
    """Of equally near columns a free one, of several the lowest."""
    found = -1
    for j in range(len(away)):
        if away[j] == least:
            if holder[j] < 0:
                return j
            if found < 0:
                found = j
    return found


@njit(nogil=True, cache=True, fastmath={"nnan", "nsz"})
def _cheapest(costs):  # type: ignore[no-untyped-def]
    """The first of the least: what each step of columns has is compared without a branch."""
    low, begin = costs[0], 0
    for start in range(0, len(costs), STEP):
        least = costs[start]
        for j in range(start, min(start + STEP, len(costs))):
            least = costs[j] if costs[j] < least else least
        if least < low:
            low, begin = least, start
    while costs[begin] != low:
        begin += 1
    return begin
