"""Intersections of convex quads: Shapely, the pairs on which others fail, scales, gradients."""

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.testing import assert_close

from host_reads import NoHostReads
from matchloss.geometry import convex_intersection, quad_area, rotated_corners
from rotated_pairs import HARD_PAIRS, convex_quads, polygon, random_rotated


@settings(max_examples=150, deadline=None)
@given(convex_quads(), convex_quads())
def test_equals_shapely(quad, other) -> None:
    wanted = polygon(quad).intersection(polygon(other)).area
    scale = max(quad_area(quad).item(), quad_area(other).item(), 1.0)
    assert convex_intersection(quad, other).item() == pytest.approx(wanted, abs=1e-11 * scale)
    assert convex_intersection(quad.float(), other.float()).item() == pytest.approx(wanted, abs=1e-4 * scale)


@settings(max_examples=100, deadline=None)
@given(convex_quads(), convex_quads(), st.integers(0, 3), st.booleans())
def test_neither_order_nor_winding_matters(quad, other, start, reverse) -> None:
    value = convex_intersection(quad, other)
    renamed = (quad.flip(0) if reverse else quad).roll(start, 0)
    for first, second in ((renamed, other), (other, renamed), (other.flip(0), quad)):
        assert_close(convex_intersection(first, second), value, rtol=1e-11, atol=1e-11)


@settings(max_examples=100, deadline=None)
@given(convex_quads())
def test_a_quad_and_itself_share_its_area(quad) -> None:
    for dtype in (torch.float32, torch.float64):
        own = quad.to(dtype)
        tolerance = 8 * torch.finfo(dtype).eps
        assert_close(convex_intersection(own, own), quad_area(own), rtol=tolerance, atol=tolerance * 900)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [name for name in HARD_PAIRS if name != "thin"])  # its corners float32 cannot hold
def test_hard_pairs(name: str, dtype: torch.dtype) -> None:
    first, second, wanted = HARD_PAIRS[name]
    quad, other = rotated_corners(first).to(dtype).requires_grad_(), rotated_corners(second).to(dtype)
    shared = convex_intersection(quad, other)
    iou = shared / (quad_area(quad) + quad_area(other) - shared)
    assert iou.item() == pytest.approx(wanted, abs=2e-5)
    (slope,) = torch.autograd.grad(iou, quad)
    assert slope.isfinite().all()


def test_identical_squares_share_exactly_one() -> None:
    square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    for scale in (2.0**-30, 1.0, 2.0**30):
        assert convex_intersection(square * scale, square * scale) == scale**2


def test_a_quad_inside_keeps_its_area_wherever_it_is() -> None:
    for place in (0.0, 1000.0, -3000.0):
        small = torch.tensor([[0.0, 0.0], [0.5, 0.125], [0.5, 0.5], [0.125, 0.5]]) + place
        large = (torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]) - 0.5) * 1e4 + place
        assert convex_intersection(small, large) == quad_area(small)
        assert convex_intersection(large, small) == quad_area(small)


def test_quads_without_area() -> None:
    square = torch.tensor([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]])
    point, line = torch.ones(4, 2), torch.tensor([[0.0, 1.0], [2.0, 1.0], [2.0, 1.0], [0.0, 1.0]])
    triangle = torch.tensor([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [2.0, 2.0]])
    bow = torch.tensor([[0.0, 0.0], [2.0, 2.0], [2.0, 0.0], [0.0, 2.0]])
    for one, wanted in ((point, 0.0), (line, 0.0), (triangle, 2.0)):
        assert convex_intersection(one, square) == wanted
        assert convex_intersection(square, one) == wanted
    for one in (point, line, triangle, bow):
        leaf = one.clone().requires_grad_()
        value = convex_intersection(leaf, square)
        (slope,) = torch.autograd.grad(value, leaf)
        assert value.isfinite()
        assert slope.isfinite().all()


def test_gradients() -> None:
    pair = [rotated_corners(random_rotated(6, seed)).requires_grad_() for seed in (0, 1)]
    assert torch.autograd.gradcheck(convex_intersection, pair)
    assert torch.autograd.gradgradcheck(convex_intersection, pair)


def test_a_shared_quad_moves_as_a_whole() -> None:
    """Moving both quads changes nothing: the gradients of all corners add up to 0."""
    pair = [rotated_corners(random_rotated(50, seed)).requires_grad_() for seed in (2, 3)]
    slopes = torch.autograd.grad(convex_intersection(*pair).sum(), pair)
    assert_close(slopes[0].sum(1) + slopes[1].sum(1), torch.zeros(50, 2, dtype=torch.float64), rtol=0, atol=1e-10)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_seen(bad: float) -> None:
    quad = rotated_corners(random_rotated(3))
    broken = quad.clone()
    broken[1, 2, 0] = bad
    for value in (convex_intersection(broken, quad), convex_intersection(quad, broken)):
        assert value.isfinite().tolist() == [True, False, True]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(dtype: torch.dtype) -> None:
    quad = torch.tensor([[0, 0], [640, 0], [640, 640], [0, 640]], dtype=dtype)
    value = convex_intersection(quad, quad)
    assert value.dtype == torch.float32
    assert value == 640.0**2


def test_shapes_tracing_and_host_reads() -> None:
    quads, others = rotated_corners(random_rotated(3)), rotated_corners(random_rotated(4, 1))
    table = convex_intersection(quads.unsqueeze(1), others)
    assert table.shape == (3, 4)
    assert_close(table[1, 2], convex_intersection(quads[1], others[2]))
    assert convex_intersection(quads[:0], others[0]).shape == (0,)
    with NoHostReads():
        convex_intersection(quads, quads)
    compiled = torch.compile(convex_intersection, fullgraph=True, backend="aot_eager")
    assert_close(compiled(quads.unsqueeze(1), others), table)
    assert convex_intersection(quads.to("meta"), quads.to("meta")).shape == (3,)
