"""Losses of edge distances, angles and rotated boxes on pairs one can do in the head, and where others went wrong."""

import math

import pytest
import torch
from torch.testing import assert_close

from by_hand import slope, tensor
from cases import LOSSES
from inputs import rotated_pairs
from matchloss.geometry import cxcywh_to_xyxy
from matchloss.losses import (
    angle_loss,
    diou_loss,
    edge_iou_loss,
    giou_loss,
    gwd_loss,
    iou_loss,
    kfiou_loss,
    kld_loss,
    probiou_loss,
    rotated_diou_loss,
    rotated_giou_loss,
    rotated_iou_loss,
)

ROTATED_CASES = [
    pytest.param(case.function, options, id=f"{case.name}-{number}")
    for case in LOSSES
    if case.make is rotated_pairs
    for number, options in enumerate(case.options)
]
over_rotated_losses = pytest.mark.parametrize(("loss", "options"), ROTATED_CASES)
GAUSSIAN = (gwd_loss, kld_loss, kfiou_loss, probiou_loss)
WORD = (30.0, 20.0, 50.0, 8.0, 0.3)

# Edge distances


def test_orders_name_the_same_sides() -> None:
    by_name = {"t": 1.0, "r": 2.0, "b": 3.0, "l": 4.0}
    target = {"t": 2.0, "r": 1.0, "b": 5.0, "l": 3.0}
    for order in ("trbl", "tblr", "ltrb"):
        edges, wanted = (tensor(*(side[letter] for letter in order)) for side in (by_name, target))
        value = edge_iou_loss(edges, wanted, distance_order=order)
        assert_close(value, tensor(-math.log(4 * 4 / (4 * 6 + 7 * 4 - 4 * 4)))[0])


@pytest.mark.parametrize("mode", ["linear", "log"])
def test_it_is_the_iou_of_the_boxes_around_the_point(mode: str) -> None:
    rng = torch.Generator().manual_seed(0)
    edges, targets = 9 * torch.rand(2, 50, 4, generator=rng, dtype=torch.float64)
    sign = tensor(-1, -1, 1, 1)
    targets[:5, 0] = -1  # the point may lie outside
    got = edge_iou_loss(edges, targets, distance_order="ltrb", mode=mode, reduction="none")
    assert_close(got, iou_loss(sign * edges, sign * targets, mode=mode, reduction="none"))


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1.0, 1e6, 1e30])
@pytest.mark.parametrize("mode", ["linear", "log"])
def test_the_unit_does_not_matter(mode: str, scale: float) -> None:
    # With 1 added to both areas, an IoU of 1/4 costs 1.386 in pixels and 0.003 in fractions of an image.
    edges, targets = scale * torch.tensor([3.0, 2.0, 5.0, 4.0]), scale * torch.tensor([6.0, 4.0, 10.0, 8.0])
    wanted = 0.75 if mode == "linear" else math.log(4)
    assert edge_iou_loss(edges, targets, mode=mode).item() == pytest.approx(wanted, rel=1e-5)
    assert edge_iou_loss(edges, edges, mode=mode) == 0


def test_smooth_is_in_squared_units() -> None:
    edges, targets = tensor(1, 2, 1, 2), tensor(1, 1, 1, 1)
    assert_close(edge_iou_loss(edges, targets, smooth=1.0), tensor(math.log(9 / 5))[0])
    assert_close(edge_iou_loss(10 * edges, 10 * targets, smooth=100.0), tensor(math.log(9 / 5))[0])
    assert_close(edge_iou_loss(10 * edges, 10 * targets, smooth=1.0), tensor(math.log(801 / 401))[0])


def test_half_precision_holds_areas_it_cannot() -> None:
    # Areas in float16: identical boxes of 260 x 260 are NaN, others inf.
    edges = torch.full((4,), 200.0, dtype=torch.float16)
    for smooth in (0.0, 1.0):
        assert edge_iou_loss(edges, edges, smooth=smooth) == 0
        assert_close(edge_iou_loss(edges, 2 * edges, smooth=smooth).item(), math.log(4), rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    "edges", [(0, 0, 0, 0), (0, 3, 0, 3), (-1, -1, -1, -1), (-5, 4, -5, 4), (-9, 12, 2, 2), (12, -9, -9, 12)]
)
def test_a_box_that_shrank_to_nothing_is_pulled_open(edges: tuple[float, ...]) -> None:
    # As a product of sides, an empty box has no slope, and two negative sides make a positive area.
    edges, target = tensor(*edges).requires_grad_(), tensor(4, 4, 4, 4)
    value = edge_iou_loss(edges, target)
    assert value > 0
    pull = slope(value, edges)
    assert edge_iou_loss(edges.detach() - 1e-6 * pull, target) < value
    for first, second in ((0, 2), (1, 3)):
        if edges[first] + edges[second] <= 0:
            assert pull[first] + pull[second] < 0, "it grows"


def test_without_overlap_the_log_goes_on_as_its_tangent() -> None:
    at_floor = edge_iou_loss(tensor(1, 0.001, 1, 0), tensor(1, 1, 1, 0))
    assert_close(at_floor, tensor(math.log(1000))[0])
    assert_close(edge_iou_loss(tensor(1, 0, 1, 0), tensor(1, 1, 1, 0)), tensor(math.log(1000) + 1)[0])
    assert_close(edge_iou_loss(tensor(0, 0, 0, 0), tensor(1, 1, 1, 0)), tensor(2 * math.log(1000) + 2)[0])


def test_empty_boxes_agree_with_each_other() -> None:
    for edges in (tensor(0, 0, 0, 0), tensor(0, 2, 0, 2)):
        edges = edges.requires_grad_()
        for mode in ("log", "linear"):
            value = edge_iou_loss(edges, edges.detach(), mode=mode)
            assert value == 0
            assert slope(value, edges).isfinite().all()


@pytest.mark.parametrize("options", [{"distance_order": "trlb"}, {"mode": "square"}, {"smooth": -1.0}])
def test_wrong_options_of_edges_are_named(options) -> None:
    (name,) = options
    with pytest.raises(ValueError, match=rf"^edge_iou_loss: expected {name} .*, got "):
        edge_iou_loss(torch.ones(4), torch.ones(4), **options)


def test_edges_of_another_length_are_an_error_that_says_the_order() -> None:
    with pytest.raises(ValueError, match=r"expected edges of shape \(\.\.\., 4\), .* order tblr, got \(5,\)$"):
        edge_iou_loss(torch.ones(5), torch.ones(5), distance_order="tblr")


# Angles


def test_angles_come_round() -> None:
    angles = torch.linspace(-7, 7, 41, dtype=torch.float64)
    for symmetry in (1, 2, 4):
        for turns in (-2, 1, 3):
            moved = angles + turns * 2 * math.pi / symmetry
            assert_close(angle_loss(moved, angles, symmetry=symmetry), tensor(0.0)[0])
        opposite = angle_loss(angles + math.pi / symmetry, angles, symmetry=symmetry, reduction="none")
        assert_close(opposite, torch.full_like(opposite, 2.0))


def test_small_differences_of_angles_are_not_lost() -> None:
    # 1 - cos(1e-4) is 0 in float32.
    tiny = torch.tensor(1e-4, requires_grad=True)
    value = angle_loss(tiny, torch.tensor(0.0))
    assert value.item() == pytest.approx(5e-9, rel=1e-4)
    assert slope(value, tiny).item() == pytest.approx(1e-4, rel=1e-4)
    assert angle_loss(torch.tensor(math.radians(1)), torch.tensor(0.0)).item() == pytest.approx(0.00015, abs=3e-6)
    assert angle_loss(torch.tensor(math.radians(5)), torch.tensor(0.0)).item() == pytest.approx(0.0038, abs=1e-5)


@pytest.mark.parametrize("symmetry", [0, -1, 1.5, 2.0, None])
def test_a_symmetry_that_is_no_whole_number_is_an_error(symmetry) -> None:
    with pytest.raises(ValueError, match=r"^angle_loss: expected symmetry to be a whole number > 0, got "):
        angle_loss(torch.ones(2), torch.ones(2), symmetry=symmetry)


# Rotated boxes


def least(options) -> float:
    return 1 - 1 / options.get("tau", 1.0)


@over_rotated_losses
@pytest.mark.parametrize("scale", [1e-15, 1e-4, 1.0, 1e4, 1e15])
def test_equal_boxes_cost_the_least_at_any_scale(loss, options, scale: float) -> None:
    # mmrotate's KFIoU: 2/3; ProbIoU with its constants: 0.03, and by determinants NaN for thin boxes.
    for sides in ((50.0, 8.0), (8.0, 50.0), (7.0, 7.0), (200.0, 0.01), (5.0, 0.0), (0.0, 0.0)):
        box = (
            torch.tensor([30.0, 20.0, *sides, 0.0]) * scale + torch.tensor([0.0, 0.0, 0.0, 0.0, 0.3])
        ).requires_grad_()
        value = loss(box, box.detach(), **options)
        assert value.item() == pytest.approx(least(options), abs=1e-3), sides
        assert slope(value, box).isfinite().all(), sides


@over_rotated_losses
def test_the_rectangle_counts_not_how_it_is_written(loss, options) -> None:
    boxes, targets = (part.flatten(0, 1) for part in (rotated_pairs(2).predictions, rotated_pairs(2).targets))
    wanted = loss(boxes, targets, reduction="none", **options)
    x, y, width, height, angle = boxes.unbind(-1)
    for same in ((x, y, width, height, angle - 3 * math.pi), (x, y, height, width, angle + math.pi / 2)):
        assert_close(loss(torch.stack(same, -1), targets, reduction="none", **options), wanted)


@over_rotated_losses
def test_turning_moving_and_scaling_the_scene_change_nothing(loss, options) -> None:
    turn, moved = 1.1, tensor(300, -700)
    factor = 1.0 if loss is gwd_loss and not options.get("normalize") else 40.0

    def elsewhere(boxes):
        x, y = boxes[..., 0], boxes[..., 1]
        x, y = math.cos(turn) * x - math.sin(turn) * y, math.sin(turn) * x + math.cos(turn) * y
        place = torch.stack([x, y], -1) + moved
        return torch.cat([factor * place, factor * boxes[..., 2:4], boxes[..., 4:] + turn], -1)

    boxes, targets = rotated_pairs(2).predictions, rotated_pairs(2).targets
    got = loss(elsewhere(boxes), elsewhere(targets), reduction="none", **options)
    assert_close(got, loss(boxes, targets, reduction="none", **options), rtol=1e-6, atol=1e-9)


@over_rotated_losses
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_holds_boxes_as_large_as_an_image(loss, options, dtype: torch.dtype) -> None:
    box = torch.tensor([320.0, 320.0, 640.0, 512.0, 0.5], dtype=dtype)
    assert loss(box, box, **options).item() == pytest.approx(least(options), abs=1e-3)
    off = (box * torch.tensor([1.0, 1.0, 0.5, 1.0, 1.0], dtype=dtype)).requires_grad_()
    value = loss(off, box, **options)
    assert value > least(options) + 0.05
    assert slope(value, off).isfinite().all()


@over_rotated_losses
def test_boxes_apart_are_pulled_but_by_the_iou(loss, options) -> None:
    box = torch.tensor([90.0, 20.0, 20.0, 8.0, 0.3], requires_grad=True)
    pull = -slope(loss(box, torch.tensor(WORD), **options), box)
    if loss is rotated_iou_loss:
        assert not pull.any()
    elif options.get("center_weight") != 0:
        assert pull[0] < 0, "towards the target"


def test_upright_boxes_have_the_iou_they_always_had() -> None:
    rng = torch.Generator().manual_seed(1)
    boxes, targets = 10 * torch.rand(2, 200, 4, generator=rng, dtype=torch.float64)
    turned, target_turned = (torch.nn.functional.pad(rows, (0, 1)) for rows in (boxes, targets))
    corners, target_corners = cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(targets)
    for mode in ("linear", "log"):
        got = rotated_iou_loss(turned, target_turned, mode=mode, reduction="none")
        assert_close(got, iou_loss(corners, target_corners, mode=mode, reduction="none"))
    giou = rotated_giou_loss(turned, target_turned, reduction="none")
    diou = rotated_diou_loss(turned, target_turned, reduction="none")
    assert (giou <= giou_loss(corners, target_corners, reduction="none") + 1e-12).all()
    assert (diou >= diou_loss(corners, target_corners, reduction="none") - 1e-12).all()


def test_five_degrees_mean_much_to_a_word_and_little_to_a_square() -> None:
    turned = torch.tensor([0.0, 0.0, 0.0, 0.0, math.radians(5)])
    word, square = torch.tensor(WORD), torch.tensor([30.0, 20.0, 20.0, 20.0, 0.3])
    assert rotated_iou_loss(word + turned, word).item() == pytest.approx(0.240, abs=0.01)
    assert rotated_iou_loss(square + turned, square).item() == pytest.approx(0.080, abs=0.01)
    for loss in GAUSSIAN:
        assert loss(word + turned, word) > 1e-3
        assert loss(square + turned, square).item() == pytest.approx(0, abs=1e-6), "a square has no angle to it"


def test_the_published_kfiou_of_equal_boxes_is_a_third() -> None:
    word, other = torch.tensor(WORD), torch.tensor([30.0, 20.0, 40.0, 9.0, 0.5])
    ours = kfiou_loss(other, word, center_weight=0.0)
    theirs = 1 - (1 - ours) / 3
    assert_close(theirs, torch.tensor(2 / 3) + ours / 3)
    assert_close(kfiou_loss(other, word, mode="log", center_weight=0.0), -torch.log(1 - ours))
    assert_close(kfiou_loss(other, word, mode="exp", center_weight=0.0), torch.exp(ours) - 1)


def test_far_boxes_are_flat_to_l1_and_not_to_l2() -> None:
    box = torch.tensor([1000.0, 20.0, 50.0, 8.0, 0.3], requires_grad=True)
    target = torch.tensor(WORD)
    assert slope(probiou_loss(box, target), box)[0] == 0
    assert slope(probiou_loss(box, target, mode="l2"), box)[0] > 1e-3
    near = probiou_loss(torch.tensor([40.0, 20.0, 50.0, 8.0, 0.3]), target)
    assert_close(probiou_loss(torch.tensor([40.0, 20.0, 50.0, 8.0, 0.3]), target, mode="l2"), -torch.log(1 - near**2))


def test_gwd_is_in_pixels_unless_normalised() -> None:
    boxes, targets = rotated_pairs(1).predictions, rotated_pairs(1).targets
    tenfold = tensor(10, 10, 10, 10, 1)
    plain, tenth = gwd_loss(boxes, targets), gwd_loss(boxes * tenfold, targets * tenfold)
    assert tenth > plain + 0.05
    assert_close(gwd_loss(boxes * tenfold, targets * tenfold, normalize=True), gwd_loss(boxes, targets, normalize=True))


@pytest.mark.parametrize("loss", [gwd_loss, kld_loss])
def test_wrong_options_of_gaussian_losses_are_named(loss) -> None:
    box = torch.tensor(WORD)
    with pytest.raises(ValueError, match=rf"^{loss.__name__}: expected tau >= 1, got 0\.5$"):
        loss(box, box, tau=0.5)
    with pytest.raises(
        ValueError, match=rf"^{loss.__name__}: expected transform to be one of 'log1p', 'sqrt', got 'log'$"
    ):
        loss(box, box, transform="log")


def test_boxes_without_an_angle_are_an_error() -> None:
    with pytest.raises(
        ValueError, match=r"^kld_loss: expected boxes of shape \(\.\.\., 5\), \(cx, cy, w, h, a\), got \(4,\)$"
    ):
        kld_loss(torch.ones(4), torch.ones(4))
