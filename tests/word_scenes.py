"""Words to draw target maps of: slanted, jittered, crowded, broken, and those of real photos where they are there."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from matchloss.recipes.data.icdar import read_icdar

REAL = Path(__file__).parents[2] / "shared" / "data" / "icdar2015_text" / "gt"


class Scene(NamedTuple):
    """A batch of annotated images of one size."""

    quads: list[Tensor]
    ignore: list[Tensor]
    size: tuple[int, int]


def slanted(
    seed: int, counts: tuple[int, ...], size: tuple[int, int], *, heights: tuple[float, float] = (5.0, 40.0)
) -> Scene:
    """Words up to six times as long as high, up to 80 degrees to either side, some over the border; a third to ignore.

    Some run the other way round, are concave, cross themselves, have no area or no finite corner.
    """
    rng = np.random.default_rng(seed)
    quads, ignore = [], []
    for count in counts:
        image = np.array([slanted_word(rng, size, heights) for _ in range(count)]).reshape(count, 4, 2)
        flags = rng.random(count) < 0.3
        for number, quad in enumerate(image):
            kind = rng.integers(12)
            if kind == 0:
                quad[:] = quad[[0, 3, 2, 1]]
            elif kind == 1:
                quad[:] = quad[[0, 2, 1, 3]]
            elif kind == 2:
                quad[2:] = quad[1::-1]
            elif kind == 3:
                quad[1, 0] = np.nan
            elif kind == 4:
                quad[2] = quad[0] + 0.3 * (quad[2] - quad[0])
                flags[number] = True  # the hull is a triangle, which three rectangles enclose equally well
        quads.append(torch.from_numpy(image).float())
        ignore.append(torch.from_numpy(flags))
    return Scene(quads, ignore, size)


def slanted_word(rng: np.random.Generator, size: tuple[int, int], heights: tuple[float, float]) -> np.ndarray:
    """``(4, 2)`` clockwise from the top left as read, its corners shaken by a twentieth of the height."""
    height = rng.uniform(*heights)
    width, angle = height * rng.uniform(1.2, 6), rng.uniform(-1.4, 1.4)
    corners = np.array([[-width, -height], [width, -height], [width, height], [-width, height]]) / 2
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    center = rng.uniform(0, 1, 2) * (size[1], size[0])
    return corners @ turn + center + height / 20 * rng.standard_normal((4, 2))


def upright(x: float, y: float, width: float, height: float) -> list[list[float]]:
    """A word along the axes, from its top left."""
    return [[x, y], [x + width, y], [x + width, y + height], [x, y + height]]


def one_image(*quads: list[list[float]], ignore: tuple[int, ...] = (), size: tuple[int, int] = (96, 128)) -> Scene:
    """Words, those of these numbers unreadable."""
    flags = torch.tensor([number in ignore for number in range(len(quads))], dtype=torch.bool)
    return Scene([torch.tensor(quads, dtype=torch.float32).reshape(-1, 4, 2)], [flags], size)


def photos(count: int) -> Scene:
    """Annotations of street photos, 720 x 1280."""
    if not REAL.is_dir():
        pytest.skip("no photos here")
    quads, ignore = [], []
    for file in sorted(REAL.glob("*.txt"))[:count]:
        words = read_icdar(file)
        quads.append(torch.tensor([word.quad for word in words]).reshape(-1, 4, 2))
        ignore.append(torch.tensor([word.ignore for word in words], dtype=torch.bool))
    return Scene(quads, ignore, (720, 1280))
