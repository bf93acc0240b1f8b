"""Rotated boxes and convex quads for tests of geometry: random ones, hard pairs, and Shapely's polygons of them."""

import math

import shapely
import torch
from hypothesis import strategies as st
from torch import Tensor

places = st.floats(-20.0, 20.0, width=32)
lengths = st.floats(0.125, 30.0, width=32)
angles = st.one_of(st.floats(-7.0, 7.0, width=32), st.sampled_from([0.0, math.pi / 2, math.pi / 4, -math.pi]))


@st.composite
def rotated(draw: st.DrawFn) -> Tensor:
    """One rotated box, float64."""
    return torch.tensor([draw(places), draw(places), draw(lengths), draw(lengths), draw(angles)], dtype=torch.float64)


@st.composite
def convex_quads(draw: st.DrawFn) -> Tensor:
    """Four points of an ellipse, in order, float64."""
    turns = sorted(draw(st.lists(st.integers(0, 359), min_size=4, max_size=4, unique=True)))
    x, y, width, height = draw(places), draw(places), draw(lengths), draw(lengths)
    points = [(x + width * math.cos(math.radians(a)), y + height * math.sin(math.radians(a))) for a in turns]
    return torch.tensor(points, dtype=torch.float64)


def random_rotated(count: int, seed: int = 0) -> Tensor:
    """Many of them overlap; ``(count, 5)`` float64."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 10
    sides = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 8 + 0.25
    return torch.cat([centers, sides, torch.randn(count, 1, generator=generator, dtype=torch.float64) * 3], dim=-1)


def polygon(quad: Tensor) -> shapely.Polygon:
    return shapely.Polygon(quad.double().tolist())


def box(*numbers: float, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor(numbers, dtype=dtype)


# Pairs (first, second, IoU) on which well-known implementations fail or lose their digits.
HARD_PAIRS = {
    "identical": (box(5, 5, 8, 3, 0.3), box(5, 5, 8, 3, 0.3), 1.0),
    "half a turn": (box(5, 5, 8, 3, 0.3), box(5, 5, 8, 3, 0.3 + math.pi), 1.0),
    "sides swapped": (box(5, 5, 8, 3, 0.3), box(5, 5, 3, 8, 0.3 - math.pi / 2), 1.0),
    "near-identical": (box(160, 153, 230, 23, -0.6544984), box(160.0001, 153, 230, 23, -0.6544985), 1.0),
    "near-identical square": (box(300, 200, 50, 50, 0.7853981), box(300, 200, 50, 50, 0.7853983), 1.0),
    "shared edge inside": (box(0, 0, 4, 4, 0), box(-1, 0, 2, 4, 0), 0.5),
    "shared edge outside": (box(0, 0, 4, 4, 0.5), box(4 * math.cos(0.5), 4 * math.sin(0.5), 4, 4, 0.5), 0.0),
    "touching corners": (box(0, 0, 2, 2, 0), box(2, 2, 2, 2, 0), 0.0),
    "contained": (box(0, 0, 10, 10, 0.2), box(1, 1, 2, 2, 1.0), 0.04),
    "disjoint": (box(0, 0, 4, 2, 0.2), box(100, 100, 4, 2, 1.0), 0.0),
    "negative coordinates": (box(-50, -60, 8, 4, 0.0), box(-52, -60, 8, 4, 0.0), 0.6),
    "far from the origin": (box(1e5, 1e5, 8, 4, 0.0), box(1e5 + 2, 1e5, 8, 4, 0.0), 0.6),
    "thin": (box(0, 0, 1e3, 1e-3, 0.5), box(0, 0, 1e3, 5e-4, 0.5), 0.5),
    "thin crossing": (box(0, 0, 1e3, 1e-3, 0), box(0, 0, 1e-3, 1e3, 0), 1e-6 / 2),
    "tiny": (box(0, 0, 2e-9, 1e-9, 0.3), box(0, 0, 1e-9, 1e-9, 0.3), 0.5),
    "huge": (box(0, 0, 2e9, 1e9, 0.3), box(0, 0, 1e9, 1e9, 0.3), 0.5),
}
