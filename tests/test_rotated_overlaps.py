"""IoU, GIoU and DIoU of rotated boxes: Shapely, the pairs on which others fail, scales, gradients."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor
from torch.testing import assert_close

from host_reads import NoHostReads
from matchloss.geometry import (
    box_iou,
    cxcywh_to_xyxy,
    pairwise,
    rotated_box_diou,
    rotated_box_giou,
    rotated_box_iou,
    rotated_corners,
)
from rotated_pairs import HARD_PAIRS, polygon, random_rotated, rotated

OVERLAPS = (rotated_box_iou, rotated_box_giou, rotated_box_diou)
over_overlaps = pytest.mark.parametrize("overlap", OVERLAPS, ids=lambda overlap: overlap.__name__)


def by_shapely(first: Tensor, second: Tensor) -> dict[object, float]:
    one, other = rotated_corners(first), rotated_corners(second)
    a, b = polygon(one), polygon(other)
    shared = a.intersection(b).area
    union, hull = a.area + b.area - shared, a.union(b).convex_hull.area
    diameter = max(math.dist(p, q) for p, q in itertools.combinations([*one.tolist(), *other.tolist()], 2))
    iou, distance = shared / union, math.dist(first[:2].tolist(), second[:2].tolist())
    return {
        rotated_box_iou: iou,
        rotated_box_giou: iou - (hull - union) / hull,
        rotated_box_diou: iou - distance**2 / diameter**2,
    }


@settings(max_examples=100, deadline=None)
@given(rotated(), rotated())
def test_equals_shapely(first, second) -> None:
    for overlap, wanted in by_shapely(first, second).items():
        assert overlap(first, second).item() == pytest.approx(wanted, abs=1e-11), overlap
        assert overlap(first.float(), second.float()).item() == pytest.approx(wanted, abs=2e-5), overlap


def test_upright_boxes_have_the_iou_of_upright_boxes() -> None:
    first, second = random_rotated(100), random_rotated(100, 1)
    first[:, 4] = second[:, 4] = 0
    wanted = box_iou(cxcywh_to_xyxy(first[:, :4]), cxcywh_to_xyxy(second[:, :4]))
    assert_close(rotated_box_iou(first, second), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", HARD_PAIRS)
def test_hard_pairs(name: str, dtype: torch.dtype) -> None:
    first, second, wanted = HARD_PAIRS[name]
    first, second = first.to(dtype).requires_grad_(), second.to(dtype)
    assert rotated_box_iou(first, second).item() == pytest.approx(wanted, abs=2e-5)
    assert rotated_box_iou(second, first).item() == pytest.approx(wanted, abs=2e-5)
    for overlap in OVERLAPS:
        value = overlap(first, second)
        (slope,) = torch.autograd.grad(value, first)
        assert value.isfinite()
        assert slope.isfinite().all()


@over_overlaps
@settings(max_examples=50, deadline=None)
@given(rotated())
def test_a_box_is_exactly_like_itself(overlap, one) -> None:
    for dtype in (torch.float16, torch.float32, torch.float64):
        assert overlap(one.to(dtype), one.to(dtype)) == 1


@over_overlaps
@settings(max_examples=50, deadline=None)
@given(rotated(), rotated(), st.integers(-60, 60), st.floats(-3, 3))
def test_neither_order_scale_place_nor_turn_matters(overlap, first, second, power, turn) -> None:
    value = overlap(first, second)
    scale = torch.tensor([2.0**power] * 4 + [1.0], dtype=torch.float64)
    assert_close(overlap(second, first), value, rtol=1e-10, atol=1e-10)
    assert torch.equal(overlap(first * scale, second * scale), value)
    cos, sin = math.cos(turn), math.sin(turn)
    turned = []
    for x, y, width, height, angle in (first.tolist(), second.tolist()):
        turned.append([cos * x - sin * y + 64, sin * x + cos * y, width, height, angle + turn])
    moved = torch.tensor(turned, dtype=torch.float64)
    assert_close(overlap(*moved), value, rtol=1e-10, atol=1e-10)


@over_overlaps
def test_it_is_in_range(overlap) -> None:
    table = pairwise(overlap, random_rotated(60).float(), random_rotated(60, 1).float())
    assert table.shape == (60, 60)
    assert (table <= 1).all()
    assert (table >= (0 if overlap is rotated_box_iou else -1)).all()


@over_overlaps
def test_gradients(overlap) -> None:
    pair = [random_rotated(6, seed).requires_grad_() for seed in (0, 1)]
    assert torch.autograd.gradcheck(overlap, pair)
    assert torch.autograd.gradgradcheck(overlap, pair)


def test_boxes_apart_feel_a_pull() -> None:
    box = torch.tensor([10.0, 0.0, 2.0, 2.0, 0.3]).requires_grad_()
    target = torch.tensor([0.0, 0.0, 2.0, 2.0, 0.0])
    for overlap in (rotated_box_giou, rotated_box_diou):
        (slope,) = torch.autograd.grad(overlap(box, target), box)
        assert slope[0] < 0


def test_boxes_without_area() -> None:
    point, line, square = (torch.tensor([1.0, 1, w, h, 0.5]) for w, h in ((0, 0), (4, 0), (2, 2)))
    inverted = torch.tensor([1.0, 1, -2, 2, 0.5])
    for empty in (point, line, inverted):
        assert rotated_box_iou(empty, empty) == 1
        assert rotated_box_iou(empty, square) < 1e-8
        assert rotated_box_iou(empty, empty + torch.tensor([1.0, 1, 0, 0, 0])) < 1e-8
        for overlap, other in itertools.product(OVERLAPS, (empty, square)):
            leaf = empty.clone().requires_grad_()
            value = overlap(leaf, other)
            (slope,) = torch.autograd.grad(value, leaf)
            assert value.isfinite()
            assert slope.isfinite().all()


@over_overlaps
@pytest.mark.parametrize("column", range(5))
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_stays_seen(overlap, column: int, bad: float) -> None:
    boxes = random_rotated(3)
    broken = boxes.clone()
    broken[1, column] = bad
    for value in (overlap(broken, boxes), overlap(boxes, broken)):
        assert value.isfinite().tolist() == [True, False, True]


@over_overlaps
def test_shapes_tracing_and_host_reads(overlap) -> None:
    boxes, others = random_rotated(3), random_rotated(4, 1)
    table = pairwise(overlap, boxes, others)
    assert_close(table[1, 2], overlap(boxes[1], others[2]))
    assert overlap(boxes[:0], others[0]).shape == (0,)
    with NoHostReads():
        overlap(boxes, boxes)
    compiled = torch.compile(overlap, fullgraph=True, backend="aot_eager")
    assert_close(compiled(boxes.unsqueeze(1), others), table)
    assert overlap(boxes.to("meta"), boxes.to("meta")).shape == (3,)
    half = overlap(boxes.half(), others[:3].half())
    assert half.dtype == torch.float32
