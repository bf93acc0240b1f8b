"""Quads: area, winding, shape, and the smallest rectangle, against Shapely and by hand."""

import math

import pytest
import shapely
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor
from torch.testing import assert_close

from host_reads import NoHostReads
from matchloss.geometry import clockwise, crosses_itself, enclosing_rectangles, is_convex, quad_area, rotated_corners
from rotated_pairs import places, polygon, random_rotated, rotated

RECTANGLE = torch.tensor([[0.0, 0.0], [4.0, 0.0], [4.0, 2.0], [0.0, 2.0]])
BOW = RECTANGLE[[0, 2, 1, 3]]
DART = torch.tensor([[0.0, 0.0], [4.0, 0.0], [1.0, 1.0], [0.0, 4.0]])


@st.composite
def any_quads(draw: st.DrawFn) -> Tensor:
    return torch.tensor([[draw(places), draw(places)] for _ in range(4)], dtype=torch.float64)


@settings(max_examples=100, deadline=None)
@given(any_quads())
def test_area_and_shape_equal_shapely(quad) -> None:
    ring = shapely.LinearRing(quad.tolist())
    simple = ring.is_simple
    if polygon(quad).convex_hull.area < 1e-3:
        return  # three corners on a line are a matter of rounding
    if simple:
        assert quad_area(quad).abs().item() == pytest.approx(polygon(quad).area, abs=1e-9)
        assert (quad_area(quad) < 0) != ring.is_ccw  # y points down
    else:
        assert crosses_itself(quad) or not is_convex(quad) or len(set(map(tuple, quad.tolist()))) < 4
    if crosses_itself(quad):
        assert not simple
        assert not is_convex(quad)


def test_known_shapes() -> None:
    quads = torch.stack([RECTANGLE, BOW, DART, RECTANGLE.flip(0)])
    assert quad_area(quads).tolist() == [8.0, 0.0, 4.0, -8.0]
    assert crosses_itself(quads).tolist() == [False, True, False, False]
    assert is_convex(quads).tolist() == [True, False, False, True]
    assert torch.equal(clockwise(quads)[3], RECTANGLE.flip(0)[[0, 3, 2, 1]])
    assert torch.equal(clockwise(quads)[:3], quads[:3])


@settings(max_examples=100, deadline=None)
@given(any_quads())
def test_no_rectangle_around_it_is_smaller(quad) -> None:
    box = enclosing_rectangles(quad)
    wanted = polygon(quad).minimum_rotated_rectangle.area
    assert (box[2] * box[3]).item() == pytest.approx(wanted, rel=1.1e-5, abs=1e-8)
    assert polygon(rotated_corners(box)).buffer(1e-6).covers(shapely.MultiPoint(quad.tolist()))


@settings(max_examples=100, deadline=None)
@given(rotated(), st.integers(0, 3))
def test_a_rectangle_is_its_own_in_the_same_reading_order(box, start) -> None:
    """Corner by corner: a word that runs upwards or is upside down keeps its first corner."""
    quad = rotated_corners(box).roll(start, 0)
    assert_close(rotated_corners(enclosing_rectangles(quad)), quad, rtol=0, atol=1e-6)


def test_the_width_runs_along_the_reading_direction() -> None:
    word = torch.tensor([[10.0, 40.0], [11.0, 0.0], [21.0, 1.0], [20.0, 39.0]])  # read from bottom to top
    _, _, width, height, angle = enclosing_rectangles(word).tolist()
    assert width > 3 * height
    assert angle == pytest.approx(-math.pi / 2, abs=0.1)


def test_of_two_rectangles_of_one_area_the_first_is_taken() -> None:
    """Both along a side; which is the smaller one by rounding depends on where the quad lies."""
    kite = torch.tensor([[0.0, 0.0], [6.0, 1.0], [7.0, 7.0], [1.0, 6.0]])  # alike along all four sides
    quads = kite + 600 * torch.rand(500, 1, 2, generator=torch.Generator().manual_seed(0))
    angles = enclosing_rectangles(quads)[:, 4]
    assert_close(angles, torch.full((500,), math.atan2(1, 6)), rtol=0, atol=1e-4)
    longer = kite * torch.tensor([1.0, 1 + 5e-5])  # beyond a tie the least area counts
    areas = enclosing_rectangles(torch.stack([longer, longer.roll(1, 0)]))[:, 2:4].prod(-1)
    assert_close(areas[0], areas[1], rtol=1e-6, atol=0)


def test_far_from_the_origin_and_in_half_precision() -> None:
    quads = rotated_corners(random_rotated(50))
    near, far = enclosing_rectangles(quads), enclosing_rectangles((quads + 2.0**16).float())
    assert_close(far[:, 2:4].double(), near[:, 2:4], rtol=0, atol=0.05)
    assert enclosing_rectangles(RECTANGLE.half()).tolist() == [2.0, 1.0, 4.0, 2.0, 0.0]
    assert quad_area(RECTANGLE.half() * 200).item() == 8.0 * 200**2


def test_quads_without_area() -> None:
    point, line = torch.ones(4, 2), torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0], [0.0, 0.0]])
    assert enclosing_rectangles(point).tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]
    box = enclosing_rectangles(line)
    assert_close(box, torch.tensor([1.5, 2.0, 5.0, 0.0, math.atan2(4, 3)]), rtol=0, atol=1e-6)
    triangle = torch.tensor([[0.0, 0.0], [4.0, 0.0], [4.0, 2.0], [4.0, 2.0]])
    assert enclosing_rectangles(triangle)[2:4].prod().item() == pytest.approx(8.0)
    assert is_convex(triangle)
    assert not crosses_itself(line)


def test_batches_tracing_and_host_reads() -> None:
    quads = rotated_corners(random_rotated(6)).view(2, 3, 4, 2)
    assert enclosing_rectangles(quads).shape == (2, 3, 5)
    assert enclosing_rectangles(quads[:0]).shape == (0, 3, 5)
    for function in (enclosing_rectangles, clockwise, quad_area, is_convex, crosses_itself):
        with NoHostReads():
            value = function(quads)
        assert torch.equal(value[1, 2], function(quads[1, 2]))
        assert_close(torch.compile(function, fullgraph=True, backend="aot_eager")(quads), value)
        assert function(quads.to("meta")).shape == value.shape
