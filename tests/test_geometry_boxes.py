"""Boxes, their overlaps, and points: against plain formulas, and properties that any boxes must show."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor
from torch.testing import assert_close

import reference as ref
from by_hand import slope, tensor
from inputs import box_pairs
from matchloss.geometry import (
    box_area,
    box_ciou,
    box_diou,
    box_eiou,
    box_giou,
    box_iou,
    box_siou,
    boxes_from_distances,
    clip_boxes,
    cxcywh_to_xyxy,
    distances_from_boxes,
    grid_points,
    inside_boxes,
    pairwise,
    xywh_to_xyxy,
    xyxy_boxes,
    xyxy_to_cxcywh,
    xyxy_to_xywh,
)
from matchloss.types import Targets

OVERLAPS = {
    box_iou: (ref.iou_loss, 0.0),
    box_giou: (ref.giou_loss, -1.0),
    box_diou: (ref.diou_loss, -1.0),
    box_ciou: (ref.ciou_loss, -2.0),
    box_eiou: (ref.eiou_loss, -3.0),
    box_siou: (ref.siou_loss, -2.0),
}
over_overlaps = pytest.mark.parametrize("overlap", OVERLAPS, ids=lambda overlap: overlap.__name__)

# Halves and quarters: small sums of them are exact, so that moves and scales by powers of 2 are too.
places = st.integers(-400, 400).map(lambda number: number / 4)
lengths = st.one_of(st.just(0.0), st.integers(1, 400).map(lambda number: number / 4))


@st.composite
def boxes(draw: st.DrawFn) -> list[float]:
    x, y, width, height = draw(places), draw(places), draw(lengths), draw(lengths)
    return [x, y, x + width, y + height]


def at(*pair: list[float]) -> tuple[Tensor, ...]:
    return tuple(torch.tensor(box, dtype=torch.float64) for box in pair)


# Overlaps


@over_overlaps
def test_equals_the_plain_formula(overlap) -> None:
    inputs = box_pairs(3)
    elements, _ = OVERLAPS[overlap][0](inputs.predictions.numpy(), inputs.targets.numpy())
    got = overlap(inputs.predictions, inputs.targets)
    assert_close(got, 1 - torch.as_tensor(elements), rtol=1e-12, atol=1e-12)


@over_overlaps
def test_pairwise_equals_one_by_one_in_any_batch(overlap) -> None:
    inputs = box_pairs(3)
    some, others = inputs.predictions, inputs.targets[:, :3]
    table = pairwise(overlap, some, others)
    assert table.shape == (3, 5, 3)
    for image in range(3):
        for row in range(5):
            for column in range(3):
                one = overlap(some[image, row], others[image, column])
                assert_close(table[image, row, column], one, rtol=1e-14, atol=1e-14)
    assert pairwise(overlap, some[:, :0], others).shape == (3, 0, 3)


@over_overlaps
def test_gradients(overlap) -> None:
    inputs = box_pairs(2)
    both = inputs.predictions.requires_grad_(), inputs.targets.requires_grad_()
    if overlap is box_ciou:  # finite differences see the trade-off that the gradient takes for a constant
        both = both[0][:, 3:4].detach(), both[1][:, 3:4].detach()
        assert_close(overlap(*both), overlap(both[1], both[0]))
        return
    assert torch.autograd.gradcheck(overlap, both)
    assert torch.autograd.gradgradcheck(overlap, both)


@over_overlaps
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_half_precision_is_widened(overlap, dtype: torch.dtype) -> None:
    box = torch.tensor([0.0, 0.0, 640.0, 640.0], dtype=dtype)
    got = overlap(box, box)
    assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert got == 1


@over_overlaps
@settings(max_examples=200, deadline=None)
@given(boxes(), boxes())
def test_it_is_symmetric_and_in_range(overlap, one: list[float], other: list[float]) -> None:
    a, b = at(one, other)
    value = overlap(a, b)
    assert_close(value, overlap(b, a), rtol=1e-13, atol=1e-13)
    assert OVERLAPS[overlap][1] - 1e-12 <= value <= 1


@over_overlaps
@settings(max_examples=100, deadline=None)
@given(boxes(), boxes(), places, st.integers(-60, 60))
def test_neither_place_nor_scale_matters(
    overlap, one: list[float], other: list[float], move: float, power: int
) -> None:
    a, b = at(one, other)
    value = overlap(a, b)
    assert_close(overlap(a + move, b + move), value, rtol=1e-12, atol=1e-12)
    assert torch.equal(overlap(a * 2.0**power, b * 2.0**power), value)


@over_overlaps
@settings(max_examples=100, deadline=None)
@given(boxes())
def test_a_box_is_like_itself(overlap, box: list[float]) -> None:
    (a,) = at(box)
    assert overlap(a, a) == 1
    assert overlap(a.float(), a.float()) == 1


@over_overlaps
@settings(max_examples=100, deadline=None)
@given(boxes(), boxes())
def test_axes_and_directions_are_alike(overlap, one: list[float], other: list[float]) -> None:
    a, b = at(one, other)
    value = overlap(a, b)
    swap, flip = [1, 0, 3, 2], [2, 3, 0, 1]
    assert_close(overlap(a[swap], b[swap]), value, rtol=1e-12, atol=1e-12)
    assert_close(overlap(-a[flip], -b[flip]), value, rtol=1e-12, atol=1e-12)


@settings(max_examples=200, deadline=None)
@given(boxes(), boxes())
def test_penalties_only_lower_the_iou(one: list[float], other: list[float]) -> None:
    a, b = at(one, other)
    iou = box_iou(a, b)
    for overlap in (box_giou, box_diou, box_siou):
        assert overlap(a, b) <= iou + 1e-12
    assert box_ciou(a, b) <= box_diou(a, b) + 1e-12
    assert box_eiou(a, b) <= box_diou(a, b) + 1e-12


@over_overlaps
@settings(max_examples=200, deadline=None)
@given(boxes(), boxes(), st.booleans())
def test_values_and_gradients_are_finite(overlap, one: list[float], other: list[float], invert: bool) -> None:
    for dtype in (torch.float32, torch.float16):
        a, b = (box.to(dtype) for box in at(one, other))
        a = (a[[2, 1, 0, 3]] if invert else a).requires_grad_()
        value = overlap(a, b)
        assert value.isfinite()
        assert slope(value, a).isfinite().all()


def test_boxes_without_area() -> None:
    point, line, square = tensor(1, 1, 1, 1), tensor(0, 1, 2, 1), tensor(0, 0, 2, 2)
    for empty in (point, line):
        assert box_iou(empty, empty) == 1
        assert box_iou(empty, square) == 0
        assert box_iou(empty, empty + 1) == 0
    assert_close(box_iou(line, tensor(1, 1, 3, 1)), tensor(1 / 3)[0])  # on the axis that has a length
    assert box_iou(tensor(2, 2, 0, 0), square) == 0, "an inverted box is empty"
    assert box_iou(tensor(2, 0, 0, 2), tensor(2, 0, 0, 2)) == 0


def test_an_inverted_box_feels_a_pull() -> None:
    box, target = tensor(3, 0, 1, 2).requires_grad_(), tensor(0, 0, 2, 2)
    for overlap in (box_giou, box_diou, box_ciou, box_eiou, box_siou):
        assert slope(overlap(box, target), box).abs().max() > 0, overlap.__name__


def test_siou_s_angle_is_that_of_the_paper() -> None:
    from matchloss.geometry.overlaps import _off_axis, compare_boxes

    for degrees in (0, 10, 30, 45, 60, 89, 135, 200, 300):
        x, y = 9 * math.cos(math.radians(degrees)), 9 * math.sin(math.radians(degrees))
        got = _off_axis(compare_boxes(tensor(x, y, x + 4, y + 2), tensor(0, 0, 4, 2)))
        wanted = 1 - 2 * math.sin(math.asin(abs(y) / 9) - math.pi / 4) ** 2
        assert got.item() == pytest.approx(wanted, abs=1e-12)


# Formats, areas, clipping


@given(boxes())
def test_formats_are_each_other_s_inverse(box: list[float]) -> None:
    (a,) = at(box)
    assert torch.equal(cxcywh_to_xyxy(xyxy_to_cxcywh(a)), a)
    assert torch.equal(xywh_to_xyxy(xyxy_to_xywh(a)), a)
    assert torch.equal(box_area(a), xyxy_to_xywh(a)[2] * xyxy_to_cxcywh(a)[3])


def test_centres_of_half_precision_do_not_overflow() -> None:
    got = xyxy_to_cxcywh(torch.tensor([40960.0, 0.0, 61440.0, 8.0], dtype=torch.float16))
    assert got.tolist() == [51200, 4, 20480, 8]


def test_formats_have_gradients() -> None:
    box = tensor(1, 2, 4, 8).requires_grad_()
    for convert in (xyxy_to_cxcywh, cxcywh_to_xyxy, xyxy_to_xywh, xywh_to_xyxy, box_area):
        assert torch.autograd.gradcheck(convert, box)


@given(boxes(), st.integers(0, 90), st.integers(0, 90))
def test_clipped_boxes_lie_in_the_image_and_stay_where_they_did(box: list[float], height: int, width: int) -> None:
    (a,) = at(box)
    clipped = clip_boxes(a, (height, width))
    assert (clipped >= 0).all()
    assert (clipped <= tensor(width, height, width, height)).all()
    assert torch.equal(clip_boxes(clipped, (height, width)), clipped)
    inside = (a >= 0) & (a <= tensor(width, height, width, height))
    assert torch.equal(clipped[inside], a[inside])


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("box_format", ["xyxy", "cxcywh"])
def test_boxes_of_targets_in_pixels(box_format: str, normalized: bool) -> None:
    pixels = torch.tensor([[4.0, 2.0, 12.0, 10.0], [0.0, 0.0, 40.0, 20.0]])
    given_boxes = pixels / torch.tensor([40, 20, 40, 20]) if normalized else pixels
    given_boxes = xyxy_to_cxcywh(given_boxes) if box_format == "cxcywh" else given_boxes
    image = {"boxes": given_boxes, "labels": torch.tensor([0, 1])}
    targets = Targets.from_list([image], box_format=box_format, normalized=normalized, image_size=(20, 40))
    assert_close(xyxy_boxes("f", targets)[0], pixels)
    if normalized:
        targets = Targets.from_list([image], box_format=box_format, normalized=True)
        with pytest.raises(ValueError, match=r"f: expected targets with image_size=\(H, W\)"):
            xyxy_boxes("f", targets)


def test_rotated_boxes_have_no_corners_of_this_kind() -> None:
    image = {"boxes": torch.zeros(1, 5), "labels": torch.tensor([0])}
    with pytest.raises(ValueError, match="f: expected targets with xyxy or cxcywh boxes, got cxcywha"):
        xyxy_boxes("f", Targets.from_list([image], box_format="cxcywha"))


# Points


def test_points_are_the_centres_of_the_cells_level_by_level() -> None:
    sizes, strides = [(3, 2), (1, 4)], [8, 32]
    points = grid_points(sizes, strides)
    wanted = [
        ((column + 0.5) * stride, (row + 0.5) * stride, stride)
        for (height, width), stride in zip(sizes, strides, strict=True)
        for row in range(height)
        for column in range(width)
    ]
    assert torch.cat([points.centers, points.strides[:, None]], 1).tolist() == [list(one) for one in wanted]
    assert points.counts == (6, 4)
    with pytest.raises(ValueError, match="grid_points: expected as many sizes as strides, got 2 and 1"):
        grid_points(sizes, [8])


@given(boxes(), places, places)
def test_distances_and_boxes_are_each_other_s_inverse(box: list[float], x: float, y: float) -> None:
    a, point = *at(box), tensor(x, y)
    distances = distances_from_boxes(point, a)
    assert torch.equal(boxes_from_distances(point, distances), a)
    assert bool(inside_boxes(point, a)) == bool(distances.min() > 0)
    assert bool(inside_boxes(point, a, margin=2.0)) == bool(distances.min() > 2)
