"""Many linear assignments on a GPU, a program a problem, by shortest augmenting paths.

It finds what the CPU's kernel finds, ties included: the same steps, and the same sums in float64, from differences to a
cost of the same row. Each row first takes its cheapest column where that is free; the few others look for a path of
rows that give way. All that a search knows of the columns stays in registers, eight columns a thread.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor


def assign_problems(cost: Tensor, rows: Tensor) -> Tensor:
    """``(P, M)`` int64, -1 for none, of costs ``(P, M, Q)`` float32 or float64 and the rows ``(P, M)`` that count.

    The host waits for nothing. Compiled once for each power of two that holds the longer side, which is 4096 at most:
    of more threads the registers would not do.
    """
    problems, most, columns = cost.shape
    found = torch.full(rows.shape, -1, device=rows.device)
    if not cost.numel():
        return found
    cost, rows = cost.contiguous(), rows.contiguous()
    cheapest, lost = (torch.empty(rows.shape, dtype=torch.int32, device=rows.device) for _ in range(2))
    first_row = torch.full((problems, columns), most, dtype=torch.int32, device=rows.device)
    sizes = most, columns
    with torch.cuda.device_of(cost):  # type: ignore[no-untyped-call]
        block, warps = _block(columns)
        _take_cheapest[(problems * most,)](cost, rows, cheapest, lost, first_row, *sizes, block, num_warps=warps)
        block, warps = _block(max(sizes))
        # A product and a sum that are rounded as one would make another sentinel than the CPU's.
        options = {"num_warps": warps, "enable_fp_fusion": False}
        _assign[(problems,)](cost, cheapest, lost, first_row, found, *sizes, block, **options)
    return found


def _block(length: int) -> tuple[int, int]:
    """What a program holds, and its warps; up to 256 places it is a single one, which waits for no other."""
    block = triton.next_power_of_2(length)
    return block, max(1, block // 256)


# Not specialised: else they would be compiled again where the number of rows happens to be 1, or a multiple of 16.
@triton.jit(do_not_specialize=["most", "columns"])
def _take_cheapest(cost, rows, cheapest, lost, first_row, most, columns, block: tl.constexpr):
    """A program a row: its cheapest column, how many costs are not finite; and the first row that wants a column.

    Costs are compared by their bits, as on the CPU: of two zeros the negative one is less.
    """
    row, j = tl.program_id(0).to(tl.int64), tl.arange(0, block)
    counted = tl.where(tl.load(rows + row), columns, 0)  # of other rows nothing is read
    costs = tl.load(cost + row * columns + j, mask=j < counted, other=float("inf"))
    if costs.dtype == tl.float64:
        bits = costs.to(tl.int64, bitcast=True)
        bits = tl.where(bits < 0, bits ^ 0x7FFFFFFFFFFFFFFF, bits)
    else:
        bits = costs.to(tl.int32, bitcast=True)
        bits = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    _, first = tl.min(bits, 0, return_indices=True)
    broken = columns - tl.sum((tl.abs(costs) < float("inf")).to(tl.int32), 0)
    tl.store(cheapest + row, first)
    tl.store(lost + row, broken)
    if broken < columns:
        tl.atomic_min(first_row + row // most * columns + first, (row % most).to(tl.int32))


@triton.jit(do_not_specialize=["most", "columns"])
def _assign(cost, cheapest, lost, first_row, found, most, columns, block: tl.constexpr):
    """A program a problem. Lines each take a place: rows columns, or the other way round where columns are fewer."""
    problem, j = tl.program_id(0).to(tl.int64), tl.arange(0, block)
    cost += problem * most * columns
    broken = tl.load(lost + problem * most + j, mask=j < most, other=columns)
    rows, known = broken < columns, j < columns
    count, turned, sentinel = tl.sum(rows.to(tl.int32), 0), columns < 0, tl.sum(tl.zeros([block], tl.float64), 0)
    apart = (tl.sum(tl.where(rows, broken, 0), 0) > 0) | (count > columns)
    if apart:
        known, sentinel = _read_apart(cost, rows, columns, block)
        turned = count > tl.sum(known.to(tl.int32), 0)
    table = cost, tl.where(turned, 1, columns), tl.where(turned, columns, 1), sentinel
    places = tl.where(turned, rows, known)
    if apart:
        holder, waiting = _take_in_turn(table, tl.where(turned, known, rows), places, block)
    else:
        holder = tl.load(first_row + problem * columns + j, mask=places, other=most)
        holder = tl.where(holder < most, holder, -1)
        wanted = tl.load(cheapest + problem * most + j, mask=rows, other=0)
        waiting = rows & (tl.load(first_row + problem * columns + wanted, mask=rows, other=0) != j)
    price = tl.zeros([block], tl.float64)
    line = _first(waiting, block)
    while line < block:
        holder, price = _make_room(table, line, places, holder, price, block)
        waiting = waiting & (j != line)
        line = _first(waiting, block)
    pairs = holder >= 0
    taken = tl.load(cost + holder * table[1] + j * table[2], mask=pairs, other=float("inf"))
    row, column = tl.where(turned, j, holder), tl.where(turned, holder, j)
    tl.store(found + problem * most + row, column.to(tl.int64), mask=pairs & (tl.abs(taken) < float("inf")))


@triton.jit
def _first(lines, block: tl.constexpr):
    """The lowest of those that are True, ``block`` if none is."""
    return tl.min(tl.where(lines, tl.arange(0, block), block), 0)


@triton.jit
def _read_apart(cost, rows, columns, block: tl.constexpr):
    """Which columns have a finite cost, and a sentinel for single pairs that have none."""
    j = tl.arange(0, block)
    known, least, left = j < 0, tl.full([block], float("inf"), tl.float64), rows
    most, row = -least, _first(left, block)
    while row < block:
        costs = tl.load(cost + row * columns + j, mask=j < columns, other=float("inf")).to(tl.float64)
        finite = tl.abs(costs) < float("inf")
        known = known | finite
        least = tl.where(finite & (costs < least), costs, least)
        most = tl.where(finite & (costs > most), costs, most)
        left = left & (j != row)
        row = _first(left, block)
    high, low = tl.max(most, 0), tl.min(least, 0)
    # Dearer by this than any exchange of the other pairs could save: as many pairs as can be are finite.
    return known, high + tl.sum(rows.to(tl.int32), 0).to(tl.float64) * (high - low) + 1.0


@triton.jit
def _take_in_turn(table, lines, places, block: tl.constexpr):
    """Each line takes its cheapest place where that is free, else it waits."""
    j = tl.arange(0, block)
    holder, waiting = tl.full([block], -1, tl.int32), j < 0
    line = _first(lines, block)
    while line < block:
        costs = tl.where(places, _costs(table, line, j, places), float("inf"))
        _, first = tl.min(costs, 0, return_indices=True)
        free = tl.max(tl.where(j == first, holder, -1), 0) < 0
        holder = tl.where(j == tl.where(free, first, block), line, holder)
        waiting = waiting | (j == tl.where(free, block, line))
        lines = lines & (j != line)
        line = _first(lines, block)
    return holder, waiting


@triton.jit
def _make_room(table, start, places, holder, price, block: tl.constexpr):
    """Find the shortest way from a line to a free place, and let every line on it move on by one.

    There is one, and the search ends: all costs are finite, and places are not fewer than lines. Until then the price
    of a place that was reached stands for how far it is with its price.
    """
    j = tl.arange(0, block)
    away, turn = tl.full([block], float("inf"), tl.float64), tl.zeros([block], tl.int32)
    costs = _costs(table, start, j, places)
    own = tl.min(tl.where(places, costs, float("inf")), 0)
    cheapest, ahead, distance = own, 0.0 * own, 0.0 * own
    sink, last, searching = start, start * 0, start >= 0
    while searching:
        way = (costs - own) + (ahead - price)
        way = tl.where(way > 0.0, way, 0.0)  # none is less than 0 but for rounding
        away = tl.where(places & (turn == 0), tl.where(way < away, way, away), float("inf"))
        # All bits of a way, whose sign is none, and below them whether a line holds the place: free ones come first.
        keys = (away.to(tl.uint64, bitcast=True) << 1) | (holder >= 0).to(tl.uint64)
        least, sink = tl.min(keys, 0, return_indices=True)
        distance, searching = (least >> 1).to(tl.float64, bitcast=True), (least & 1) == 1
        last += 1
        turn = tl.where(j == sink, last, turn)
        if searching:
            line = tl.sum(tl.where(j == sink, holder, 0), 0)
            ahead = distance + tl.sum(tl.where(j == sink, price, 0.0), 0)
            price = tl.where(j == sink, ahead, price)
            costs, own = _costs(table, line, j, places), _costs(table, line, sink, sink >= 0)
    reached = (turn > 0) & (turn < last)
    while last > 0:
        # Which of the lines before has the shortest way here: to keep that for all places would cost more.
        before = (turn > 0) & (turn < last)
        way = (_costs(table, holder, sink, before) - _costs(table, holder, j, before)) + price
        way = tl.where(before, way, float("inf"))
        nearest = (way == tl.min(way, 0)) & (way < _costs(table, start, sink, sink >= 0) - cheapest)
        origin = tl.min(tl.where(nearest, turn, block + 1), 0)
        before = nearest & (turn == origin)
        line = tl.where(origin > block, start, tl.sum(tl.where(before, holder, 0), 0))
        holder = tl.where(j == sink, line, holder)
        sink, last = tl.sum(tl.where(before, j, 0), 0), tl.where(origin > block, 0, origin)
    return holder, tl.where(reached, price - distance, price)


@triton.jit
def _costs(table, line, place, counts):
    """In float64; anything where nothing counts."""
    cost, line_step, place_step, sentinel = table
    costs = tl.load(cost + line * line_step + place * place_step, mask=counts, other=0.0).to(tl.float64)
    return tl.where(tl.abs(costs) < float("inf"), costs, sentinel)
