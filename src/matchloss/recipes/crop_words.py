"""Where to cut a photo so that its words stay whole."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
LEAST_ROOM = 1e-6  # pixels; so wide is a place where there is only one


def place_window(
    bounds: Floats, window: tuple[float, float], room: tuple[Floats, Floats], numbers: Floats, *, words: bool
) -> tuple[Floats, bool]:
    """A random corner for a window that cuts as few words as can be, and whether it is all that was asked for.

    Whether the window cuts a word, holds it, or misses it, changes only where an edge of the one meets an edge of the
    other. These lines divide the room into cells, and all places in a cell are alike; so the words of each are counted
    once, and the place is drawn evenly from all the best cells together. Nothing is tried again and again.

    Args:
        bounds: (n, 4), left, top, right, bottom of the words.
        window: (width, height).
        room: lowest and highest (x, y) of the window's top left corner.
        numbers: three random numbers in [0, 1).
        words: ask for a place with a whole word; else for one that no word touches.
    """
    cells, touching, holding = [], [], []
    for axis in (0, 1):
        low, high = room[0][axis], max(room[1][axis], room[0][axis] + LEAST_ROOM)
        starts, ends, length = bounds[:, axis], bounds[:, axis + 2], window[axis]
        # The window touches a word from the first of these corners to the second, and holds it from the third on.
        events = np.stack([starts - length, ends, ends - length, starts]).clip(low, high)
        lines = np.unique(np.append(events, [low, high]))
        places = np.searchsorted(lines, events)
        cells.append(lines)
        touching.append(places[:2])
        holding.append(places[2:])
    touched, whole = _count(touching, cells), _count(holding, cells)
    cut = touched - whole
    wanted = whole > 0 if words else touched == 0
    cost = np.where(wanted, cut, cut + len(bounds) + 1)
    chances = np.where(cost == cost.min(), np.outer(*map(np.diff, cells)), 0.0).cumsum()
    chosen = min(int(np.searchsorted(chances, numbers[0] * chances[-1], side="right")), len(chances) - 1)
    index = np.unravel_index(chosen, cost.shape)
    place = [
        lines[i] + number * (lines[i + 1] - lines[i])
        for lines, i, number in zip(cells, index, numbers[1:], strict=True)
    ]
    return np.array(place), bool(cost[index] == 0)


def _count(spans: list[npt.NDArray[np.int64]], cells: list[Floats]) -> npt.NDArray[np.int64]:
    """Number of rectangles over each cell; each adds one at its first corner, and takes it back behind its last."""
    (left, right), (top, bottom) = spans
    there = (left < right) & (top < bottom)
    table = np.zeros([len(lines) for lines in cells], np.int64)
    for x, y, sign in ((left, top, 1), (right, top, -1), (left, bottom, -1), (right, bottom, 1)):
        np.add.at(table, (x[there], y[there]), sign)
    return table.cumsum(0).cumsum(1)[:-1, :-1]
