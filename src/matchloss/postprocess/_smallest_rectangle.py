"""The smallest rectangle around the cells of a region."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Rectangle(NamedTuple):
    """A rotated rectangle, in cells."""

    center: NDArray[np.float64]
    """x and y."""
    along: NDArray[np.float64]
    """Unit vector of the side that is nearest to horizontal, to the right."""
    size: tuple[float, float]
    """Along that side, and across."""

    def corners(self, offset: float) -> NDArray[np.float64]:
        """``(4, 2)`` clockwise on the screen from the top left, with each side moved out by the offset."""
        along = (self.size[0] / 2 + offset) * self.along
        down = (self.size[1] / 2 + offset) * np.array([-self.along[1], self.along[0]])
        return self.center + np.stack([-along - down, along - down, along + down, down - along])


def smallest_rectangle(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Rectangle:
    """Around the centres of cells in row order, with half a cell on each side: a side of it is on their hull."""
    hull = _hull(_outermost(rows, columns))
    sides = np.roll(hull, -1, 0) - hull if len(hull) > 1 else np.array([[1.0, 0.0]])
    along = sides / np.hypot(*sides.T)[:, None]
    # A quarter turn of a direction has the same rectangle: take the one within 45 degrees of the right.
    along = np.where((np.abs(along[:, :1]) < np.abs(along[:, 1:])), along[:, ::-1] * [-1, 1], along)
    along = np.where(along[:, :1] < 0, -along, along)
    across = along[:, ::-1] * [-1, 1]
    x, y = hull @ along.T, hull @ across.T
    width, height = np.ptp(x, 0) + 1, np.ptp(y, 0) + 1
    best = int((width * height).argmin())
    middle = np.array([x[:, best].max() + x[:, best].min(), y[:, best].max() + y[:, best].min()]) / 2
    center = middle[0] * along[best] + middle[1] * across[best]
    return Rectangle(center, along[best], (float(width[best]), float(height[best])))


def _outermost(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
    """``(n, 2)`` x and y of the first and the last cell of each row, sorted by row, then by column."""
    lowest = rows - rows.min()
    first = np.full(lowest.max() + 1, columns.max())
    last = np.full(lowest.max() + 1, columns.min())
    np.minimum.at(first, lowest, columns)
    np.maximum.at(last, lowest, columns)
    numbers = np.unique(rows)
    y = np.repeat(numbers, 2)
    x = np.stack([first, last], 1)[numbers - rows.min()].ravel()
    return np.stack([x, y], 1).astype(np.float64)


def _hull(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners of the convex hull, by Andrew's monotone chain; a line has two, a point one."""
    corners: list[tuple[float, float]] = []
    ordered = [(x, y) for x, y in dict.fromkeys(map(tuple, points.tolist()))]
    if len(ordered) < 2:
        return points[:1]
    for chain in (ordered, ordered[::-1]):
        start = len(corners)
        for x, y in chain:
            while len(corners) >= start + 2:
                (ax, ay), (bx, by) = corners[-2:]
                if (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0:
                    break
                corners.pop()
            corners.append((x, y))
        corners.pop()
    return np.array(corners)
