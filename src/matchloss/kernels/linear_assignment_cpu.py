"""Many linear assignments on the CPU, by shortest augmenting paths over costs that lie row by row.

Each row first takes its cheapest column where that is free; the few others look for a path of rows that give way.
Sums are made in float64, from differences to a cost of the same row: a row of 1e30 is then like any other, while in a
potential of 1e30 whatever is added to it would get lost. Loops over columns have no branch, and find a least number by
its bits as whole numbers, so that a compiler can do several at once.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from .threads_cpu import share_rows

COSTS_A_THREAD = 2**20
"""Fewer are done with before a second thread would pay for its start."""


class Reached(NamedTuple):
    """The rows that a search has reached, in turn."""

    row: Any
    column: Any
    """That it has; the last one has no row yet."""
    ahead: Any
    """How far the column is, with its price."""


def assign_problems(cost: Tensor, rows: Tensor) -> Tensor:
    """``(P, M)`` int64, -1 for none, of costs ``(P, M, Q)`` float32 or float64 and the rows ``(P, M)`` that count.

    The problems are shared by as many threads as torch uses; the kernel lets go of the interpreter meanwhile.
    """
    found = torch.full(rows.shape, -1)
    costs, usable, result = cost.contiguous().numpy(), rows.contiguous().numpy(), found.numpy()
    bits = costs.view(np.int32 if costs.dtype == np.float32 else np.int64)
    marks = costs.dtype.type(np.inf).view(bits.dtype), bits.dtype.type(np.iinfo(bits.dtype).max)
    problems, size = len(costs), costs.shape[1] * costs.shape[2]
    share_rows(
        lambda part: _assign_block(costs, bits, marks, usable, result, part.start, part.stop),
        problems,
        1 + COSTS_A_THREAD // max(size, 1),
    )
    return found


@njit(nogil=True, cache=True)
def _assign_block(costs, bits, marks, usable, found, begin, end):
    rows, taken = np.empty(costs.shape[1], np.int64), np.empty(costs.shape[1], np.int64)
    for p in range(begin, end):
        assign_problem(costs[p], bits[p], marks, usable[p], found[p], rows, taken)


@njit(nogil=True, cache=True)
def assign_problem(costs, bits, marks, usable, found, rows, taken):
    """Write the columns of the usable rows of one problem; how many of the costs of those are not finite.

    Args:
        costs: (M, Q), any numbers in rows that are not usable.
        bits: the same as whole numbers.
        marks: infinity and the largest number, as whole numbers.
        usable: (M,).
        found: (M,), -1.
        rows: (M,), to work in.
        taken: (M,), to work in.
    """
    count, broken, apart = 0, 0, False
    for t in range(len(usable)):
        if usable[t]:
            taken[count], lost = _cheapest(bits[t], marks)
            broken += lost
            if lost < costs.shape[1]:
                apart = apart or lost > 0
                rows[count] = t
                count += 1
    if apart or count > costs.shape[1]:
        _assign_apart(costs, rows[:count], found)
    else:
        _assign(costs, rows[:count], taken)
        for r in range(count):
            found[rows[r]] = taken[r]
    return broken


@njit(nogil=True, cache=True)
def _cheapest(bits, marks):
    """The first of the least costs of a row, and how many are not finite.

    Positive floats are ordered as their bits, negative ones the other way round. What is not finite has all bits of
    the exponent set, as infinity has. Numbers are kept to as many bits as the costs have: twice as many go in a step.
    """
    whole, (infinity, positive) = bits.dtype.type, marks
    least, lost = positive, whole(0)
    for j in range(len(bits)):
        least = whole(min(least, whole(bits[j] ^ positive if bits[j] < 0 else bits[j])))
        lost = whole(lost + whole((bits[j] & infinity) == infinity))
    least = whole(least ^ positive if least < 0 else least)
    first = end = whole(len(bits))
    for j in range(len(bits)):
        first = whole(min(first, whole(j) if bits[j] == least else end))
    return first, lost


@njit(nogil=True, cache=True)
def _assign_apart(cost, rows, found):
    """Copy what can be matched, the shorter side as rows; a sentinel in place of single pairs that are not finite."""
    columns, count, least, most = np.empty(cost.shape[1], np.int64), 0, np.inf, -np.inf
    for j in range(cost.shape[1]):
        known = False
        for r in range(len(rows)):
            value = np.float64(cost[rows[r], j])
            if np.isfinite(value):
                known, least, most = True, min(least, value), max(most, value)
        if known:
            columns[count] = j
            count += 1
    # Dearer by this than any exchange of the other pairs could save: as many pairs as can be are finite.
    sentinel = most + len(rows) * (most - least) + 1
    turned = len(rows) > count
    lines, places = (columns[:count], rows) if turned else (rows, columns[:count])
    block, taken = np.empty((len(lines), len(places))), np.empty(len(lines), np.int64)
    for i in range(len(lines)):
        for j in range(len(places)):
            value = np.float64(cost[places[j], lines[i]] if turned else cost[lines[i], places[j]])
            block[i, j] = value if np.isfinite(value) else sentinel
        taken[i] = np.argmin(block[i])
    _assign(block, np.arange(len(lines)), taken)
    for i in range(len(lines)):
        t, q = (places[taken[i]], lines[i]) if turned else (lines[i], places[taken[i]])
        if np.isfinite(cost[t, q]):
            found[t] = q


@njit(nogil=True, cache=True)
def _assign(cost, rows, taken):
    """From the cheapest column of each row to one of its own, of finite costs with as many columns as rows at least."""
    columns, count = cost.shape[1], 0
    order, holder = np.arange(columns), np.empty(columns, np.int64)
    waiting = np.empty(len(rows), np.int64)
    for r in range(len(rows)):
        j = taken[r]
        if order[j] < columns:
            _hold(order, holder, j, r)
        else:
            waiting[count] = r
            count += 1
    if count == 0:
        return
    price, ways = np.zeros(columns), (np.empty(columns), np.empty(columns))
    places = len(rows) + 1
    path = Reached(np.empty(places, np.int64), np.empty(places, np.int64), np.empty(places))
    for n in range(count):
        _make_room(cost, rows, waiting[n], taken, (order, holder), price, ways, path)


@njit(nogil=True, cache=True)
def _hold(order, holder, column, row):
    """``order`` is a column's number, with theirs added once it is held: of equals a free one then comes first."""
    holder[column] = row
    if order[column] < len(order):
        order[column] += len(order)


@njit(nogil=True, cache=True)
def _make_room(cost, rows, start, taken, held, price, ways, path):
    """Find the shortest way from a row to a free column, and let every row on it move on by one.

    There is one, and the search ends: all costs are finite, and columns are not fewer than rows. Until then a column
    that is reached has a price of minus infinity: no way leads there again.
    """
    order, holder = held
    away, nearer = ways
    away[:] = np.inf
    path.row[0], path.column[0], path.ahead[0], last = start, taken[start], 0.0, 0
    while True:
        costs = cost[rows[path.row[last]]]
        _reach(costs, np.float64(costs[path.column[last]]), path.ahead[last], price, away, nearer)
        away, nearer = nearer, away
        last += 1
        sink = _nearest(away.view(np.int64), order)
        distance, path.column[last] = away[sink], sink
        if order[sink] < len(order):
            break
        path.row[last], path.ahead[last] = holder[sink], distance + price[sink]
        away[sink], price[sink] = np.inf, -np.inf
    for n in range(1, last):
        price[path.column[n]] = path.ahead[n] - distance
    while last > 0:
        sink = path.column[last]
        last = _reached_from(cost, rows, path, last)
        _hold(order, holder, sink, path.row[last])
        taken[path.row[last]] = sink


@njit(nogil=True, cache=True)
def _reach(costs, own, ahead, price, away, nearer):
    """Write the ways of before, shortened where one over this row is shorter; none is less than 0 but for rounding."""
    for j in range(len(costs)):
        way = (costs[j] - own) + (ahead - price[j])
        way = way if way > 0.0 else 0.0
        nearer[j] = way if way < away[j] else away[j]


@njit(nogil=True, cache=True)
def _nearest(bits, order):
    """The column with the shortest way, of equals the first in their order."""
    least, columns = bits[0], len(bits)
    for j in range(columns):
        least = min(least, bits[j])
    first = 2 * columns
    for j in range(columns):
        first = min(first, order[j] if bits[j] == least else 2 * columns)
    return first % columns


@njit(nogil=True, cache=True)
def _reached_from(cost, rows, path, last):
    """Which of the rows before has the shortest way to a column: to keep that for all columns would cost more."""
    origin, shortest = 0, np.inf
    for n in range(last):
        row = rows[path.row[n]]
        own, other = np.float64(cost[row, path.column[n]]), np.float64(cost[row, path.column[last]])
        way = (other - own) + path.ahead[n]  # less the column's price, which is the same from all
        if way < shortest:
            origin, shortest = n, way
    return origin
