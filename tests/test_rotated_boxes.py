"""Rotated boxes: corners there and back, angle conventions by their corners, and the boxes of targets."""

import math

import pytest
import torch
from hypothesis import given, settings
from torch.testing import assert_close

from host_reads import NoHostReads
from matchloss.geometry import (
    convert_angles,
    corners_to_rotated,
    rotated_corners,
    rotated_fractions,
    rotated_pixels,
)
from matchloss.types import Targets
from reference.rotated import box_corners
from rotated_pairs import box, random_rotated, rotated

# Lowest and highest angle, which of both belongs to the range, and whether the width is the longer side.
RANGES = {
    "le90": (-math.pi / 2, math.pi / 2, "low", True),
    "le135": (-math.pi / 4, 3 * math.pi / 4, "low", True),
    "oc": (0.0, math.pi / 2, "high", False),
    "oc_old": (-math.pi / 2, 0.0, "low", False),
    "east": (-math.pi / 4, math.pi / 4, "high", False),
}
EDGE_ANGLES = [k * math.pi / 4 for k in range(-9, 10)] + [1e-9, -1e-9, -1e-30, 1e3]


def test_corners_equal_a_rotation_matrix() -> None:
    boxes = random_rotated(50)
    wanted = torch.stack([torch.as_tensor(box_corners(one)) for one in boxes.numpy()])
    assert_close(rotated_corners(boxes), wanted, rtol=0, atol=1e-12)


def test_the_first_corners_run_along_the_top() -> None:
    corners = rotated_corners(box(10, 20, 8, 4, 0))
    assert corners.tolist() == [[6.0, 18.0], [14.0, 18.0], [14.0, 22.0], [6.0, 22.0]]
    falling = rotated_corners(box(0, 0, 8, 4, 0.2))
    assert falling[1, 1] > falling[0, 1], "a positive angle is clockwise on the screen: the text falls"


@settings(max_examples=100, deadline=None)
@given(rotated())
def test_corners_there_and_back(one) -> None:
    back = corners_to_rotated(rotated_corners(one))
    assert_close(back[:4], one[:4], rtol=1e-12, atol=1e-12)
    assert_close((back[4] - one[4]).cos(), torch.ones((), dtype=torch.float64), rtol=0, atol=1e-12)


def test_boxes_without_a_side() -> None:
    for width, height in ((4, 0), (0, 4), (0, 0)):
        corners = rotated_corners(box(1, 2, width, height, 0.5)).requires_grad_()
        back = corners_to_rotated(corners)
        assert_close(rotated_corners(back), corners, rtol=0, atol=1e-12)
        (slope,) = torch.autograd.grad(back.sum(), corners)
        assert slope.isfinite().all()
    assert corners_to_rotated(rotated_corners(box(1, 2, 0, 4, 0.5)))[4].item() == pytest.approx(0.5)


@pytest.mark.parametrize("target", RANGES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_convention_keeps_the_corners_and_its_range(target: str, dtype: torch.dtype) -> None:
    boxes = random_rotated(200)
    boxes[: len(EDGE_ANGLES), 4] = torch.tensor(EDGE_ANGLES)
    boxes = boxes.to(dtype)
    got = convert_angles(boxes, "radians", target)
    assert got.dtype == dtype
    flipped = got * torch.tensor([1, 1, 1, 1, -1 if target == "east" else 1], dtype=dtype)
    corners, wanted = rotated_corners(flipped), rotated_corners(boxes)
    apart = torch.stack([(corners.roll(k, 1) - wanted).abs().amax((1, 2)) for k in range(4)]).amin(0)
    assert apart.max() < (1e-3 if dtype == torch.float32 else 1e-10)
    low, high, closed, longest_first = RANGES[target]
    low, high = (torch.tensor(end, dtype=dtype) for end in (low, high))
    if closed == "low":
        assert ((got[:, 4] >= low) & (got[:, 4] < high)).all()
    else:
        assert ((got[:, 4] > low) & (got[:, 4] <= high)).all()
    if longest_first:
        assert (got[:, 2] >= got[:, 3]).all()


def test_known_conversions() -> None:
    """A word of 4 x 2 that falls by 10 degrees, as each convention writes it."""
    ten = math.radians(10)
    word = box(0, 0, 4, 2, ten)
    quarter = math.pi / 2
    for target, width, height, angle in (
        ("le90", 4, 2, ten),
        ("le135", 4, 2, ten),
        ("oc", 4, 2, ten),
        ("oc_old", 2, 4, ten - quarter),
        ("east", 4, 2, -ten),
        ("radians", 4, 2, ten),
    ):
        assert_close(convert_angles(word, "radians", target), box(0, 0, width, height, angle), msg=target)
        assert_close(convert_angles(box(0, 0, width, height, angle), target, "le90"), word, msg=target)


def test_conventions_have_names() -> None:
    with pytest.raises(ValueError, match="convert_angles: expected target to be one of 'radians', 'le90'"):
        convert_angles(box(0, 0, 1, 1, 0), "radians", "degrees")
    with pytest.raises(ValueError, match="convert_angles: expected source"):
        convert_angles(box(0, 0, 1, 1, 0), "le180", "oc")


def targets(box_format: str, *numbers: float, normalized: bool = False, size=None) -> Targets:
    image = {"boxes": torch.tensor([numbers]), "labels": torch.tensor([0])}
    return Targets.from_list([image], box_format=box_format, normalized=normalized, image_size=size)


def test_boxes_of_targets() -> None:
    wanted = [[[20.0, 10.0, 40.0, 20.0, 0.0]]]
    assert rotated_pixels("x", targets("xyxy", 0, 0, 40, 20)).tolist() == wanted
    fractions = targets("cxcywh", 0.5, 0.5, 1, 1, normalized=True, size=(20, 40))
    assert rotated_pixels("x", fractions).tolist() == wanted
    assert rotated_pixels("x", targets("cxcywha", 1, 2, 3, 4, 5)).tolist() == [[[1.0, 2.0, 3.0, 4.0, 5.0]]]
    turned = targets("cxcywha", 0.5, 0.5, 1, 1, 0.25, normalized=True, size=(20, 40))
    assert rotated_pixels("x", turned).tolist() == [[[20.0, 10.0, 40.0, 20.0, 0.25]]]
    assert rotated_fractions("x", turned._replace(boxes=rotated_pixels("x", turned), normalized=False)).tolist() == [
        [[0.5, 0.5, 1.0, 1.0, 0.25]]
    ]
    with pytest.raises(ValueError, match=r"somebody: expected Targets with image_size=\(H, W\)"):
        rotated_pixels("somebody", targets("cxcywha", 0.5, 0.5, 1, 1, 0, normalized=True))


def test_gradients_half_precision_tracing_and_host_reads() -> None:
    boxes = random_rotated(5)
    assert rotated_corners(boxes.half()).dtype == torch.float32
    assert torch.autograd.gradcheck(rotated_corners, boxes.requires_grad_())
    assert torch.autograd.gradcheck(corners_to_rotated, rotated_corners(boxes.detach()).requires_grad_())

    def all_of_them(boxes):
        return convert_angles(corners_to_rotated(rotated_corners(boxes)), "radians", "oc")

    boxes = boxes.detach()
    with NoHostReads():
        value = all_of_them(boxes)
    assert_close(torch.compile(all_of_them, fullgraph=True, backend="aot_eager")(boxes), value)
