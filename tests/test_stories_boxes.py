"""Box losses on pairs one can do in the head, and on those where other libraries went wrong."""

import math
import os
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor
from torch.testing import assert_close

from by_hand import slope, tensor
from cases import LOSSES
from inputs import box_pairs
from matchloss import losses
from matchloss.geometry.overlaps import (
    aspect_difference,
    compare_boxes,
    intersection_and_union,
    pair_iou,
    relative_hull,
)
from matchloss.losses import (
    WiseIoULoss,
    alpha_iou_loss,
    ciou_loss,
    diou_loss,
    eiou_loss,
    focal_eiou_loss,
    giou_loss,
    inner_iou_loss,
    iou_loss,
    mpdiou_loss,
    nwd_loss,
    shape_iou_loss,
    siou_loss,
    wise_iou_loss,
)

BOX_CASES = [
    pytest.param(case.function, options, id=f"{case.name}-{number}-{index}")
    for index, case in enumerate(LOSSES)
    if case.make is box_pairs
    for number, options in enumerate(case.options)
]
over_box_losses = pytest.mark.parametrize(("loss", "options"), BOX_CASES)
SQUARE = tensor(0, 0, 2, 2)


def value_and_slope(loss, boxes: Tensor, targets: Tensor, **options) -> tuple[Tensor, Tensor]:
    boxes = boxes.detach().requires_grad_()
    value = loss(boxes, targets, reduction="sum", **options)
    return value.detach(), slope(value, boxes)


# Every loss


@over_box_losses
@pytest.mark.parametrize("side", [1e-30, 1e-4, 1.0, 640.0, 1e6, 1e30])
def test_identical_boxes_cost_nothing_at_any_scale(loss, options, side: float) -> None:
    # With 1e-7 added to areas, side 1e-4 costs 0.909 in torchvision, 0.990 in mmdetection; IoU 0.09 in Ultralytics.
    box = torch.tensor([0.0, 0.0, side, side])
    value, grad = value_and_slope(loss, box, box, **options)
    assert value == 0
    assert grad.isfinite().all()


@over_box_losses
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_boxes_of_half_precision_as_large_as_an_image(loss, options, dtype: torch.dtype) -> None:
    # The area of a 640 px box overflows float16: NaN in Ultralytics.
    box = torch.tensor([0.0, 0.0, 640.0, 640.0], dtype=dtype)
    value, grad = value_and_slope(loss, box, box, **options)
    assert value == 0
    assert grad.isfinite().all()
    value, grad = value_and_slope(loss, box / 2, box, **options)
    assert value > 0
    assert grad.isfinite().all()


ODD = {
    "point": (3, 3, 3, 3),
    "corner point": (0, 0, 0, 0),
    "no height": (1, 3, 7, 3),
    "no width": (3, 1, 3, 7),
    "inverted": (7, 8, 1, 2),
    "inverted in x": (7, 2, 1, 8),
    "far": (1e6, 1e6, 1e6 + 4, 1e6 + 4),
    "farther": (-1e18, 1e18, -1e17, 1.1e18),
    "plain": (1, 2, 7, 8),
    "inside": (2, 3, 4, 5),
    "beside": (7, 2, 9, 8),
}


@over_box_losses
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_odd_pairs_are_finite(loss, options, dtype: torch.dtype) -> None:
    # torchvision: NaN gradient of CIoU without height, NaN for a point; mmdetection: NaN for identical boxes.
    for target in ODD.values():
        boxes = torch.tensor(list(ODD.values()), dtype=dtype, requires_grad=True)
        values = loss(boxes, torch.tensor(target, dtype=dtype).expand_as(boxes), reduction="none", **options)
        grads = slope(values.sum(), boxes)
        for name, value, grad in zip(ODD, values, grads, strict=True):
            assert value.isfinite(), (name, target)
            assert value >= -1e-6, (name, target)
            assert grad.isfinite().all(), (name, target)


@over_box_losses
def test_a_box_without_area_costs_nothing_against_itself(loss, options) -> None:
    # torchvision finds an IoU of 0 there, and a loss of 1.
    for name in ("point", "corner point", "no height", "no width"):
        box = torch.tensor(ODD[name], dtype=torch.float32)
        value, grad = value_and_slope(loss, box, box, **options)
        assert value == 0, name
        assert grad.isfinite().all(), name


@over_box_losses
def test_infinity_with_mask_or_without_boxes(loss, options) -> None:
    # mmdetection: a zero weight times an inf is NaN, and the mean of nothing is NaN.
    boxes = torch.tensor([[0.0, 0, 2, 2], [math.inf, 0, math.inf, 2]], requires_grad=True)
    targets = torch.tensor([[0.0, 0, 2, 1], [0.0, 0, 2, 2]])
    value = loss(boxes, targets, mask=torch.tensor([True, False]), **options)
    assert_close(value, loss(boxes[:1], targets[:1], **options))
    assert not slope(value, boxes)[1].any()
    assert loss(boxes[:0], targets[:0], **options) == 0


@over_box_losses
def test_targets_and_boxes_are_left_alone(loss, options) -> None:
    # Ultralytics clamps in place; here it would show in what autograd saved.
    boxes, targets = torch.tensor([[3.0, 0.0, 1.0, 9.0]]), torch.tensor([[4.0, 5.0, 4.0, 2.0]])
    before = boxes.clone(), targets.clone()
    loss(boxes, targets, **options)
    assert torch.equal(boxes, before[0])
    assert torch.equal(targets, before[1])


@over_box_losses
def test_one_value_a_box(loss, options) -> None:
    boxes, targets = torch.rand(2, 3, 5, 4), torch.rand(2, 3, 5, 4)
    got = loss(boxes, targets, reduction="none", **options)
    assert got.shape == (2, 3, 5)
    assert loss(boxes[0, 1, 2], targets[0, 1, 2], reduction="none", **options).shape == ()
    assert_close(loss(boxes[0, 1, 2], targets[0, 1, 2], **options), got[0, 1, 2])
    weights = torch.tensor([1.0, 0.0, 2.0]).view(3, 1)
    assert_close(loss(boxes, targets, weights=weights, reduction="none", **options), got * weights)


def test_boxes_have_four_coordinates() -> None:
    for shape in ((3,), (3, 5), (), (4, 1)):
        with pytest.raises(ValueError, match=r"giou_loss: expected boxes of shape \(\.\.\., 4\), xyxy, got \("):
            giou_loss(torch.zeros(shape), torch.zeros(shape))
    with pytest.raises(ValueError, match=r"expected equal shapes, got boxes=\(3, 4\), target_boxes=\(1, 4\)"):
        giou_loss(torch.zeros(3, 4), torch.zeros(1, 4))


# IoU


def test_iou_of_squares() -> None:
    boxes = torch.stack([SQUARE, tensor(1, 0, 3, 2), tensor(1, 1, 3, 3), tensor(0, 0, 1, 1), tensor(2, 0, 4, 2)])
    targets = SQUARE.expand_as(boxes)
    wanted = tensor(1, 1 / 3, 1 / 7, 1 / 4, 0)
    assert_close(iou_loss(boxes, targets, reduction="none"), 1 - wanted)
    got = iou_loss(boxes, targets, mode="log", reduction="none")
    assert_close(got[:4], -wanted[:4].log())
    assert_close(got[4].item(), 1 + 3 * math.log(10))


def test_log_mode_of_tiny_and_thin_boxes_has_a_bounded_slope_that_makes_them_grow() -> None:
    # Cut at 1e-6 as in mmdetection, the first would have no slope at all, and one of 1e6 above it.
    whole = tensor(0, 0, 1, 1)
    for size in (tensor(1e-4, 1e-4), tensor(1, 1e-5), tensor(1, 1e-12), tensor(0, 1)):
        box = torch.cat([tensor(0.2, 0) * (size < 1), tensor(0.2, 0) * (size < 1) + size])
        _, grad = value_and_slope(iou_loss, box, whole, mode="log")
        assert grad.abs().max() <= 1000
        assert grad[2:].min() < 0, "growing lowers the loss"


def test_log_mode_is_smooth_where_the_tangent_begins() -> None:
    for area in (1e-3 * (1 - 1e-9), 1e-3 * (1 + 1e-9)):
        value, grad = value_and_slope(iou_loss, tensor(0, 0, area, 1), tensor(0, 0, 1, 1), mode="log")
        assert_close(value.item(), 3 * math.log(10), rtol=1e-8, atol=0)
        assert_close(grad[2].item(), -1000.0, rtol=1e-6, atol=0)


def test_an_unknown_mode_is_an_error() -> None:
    with pytest.raises(ValueError, match="iou_loss: expected mode to be one of 'linear', 'log', got 'square'"):
        iou_loss(SQUARE, SQUARE, mode="square")


# The penalties


def test_giou_pulls_where_iou_does_not() -> None:
    apart = tensor(4, 0, 6, 2)
    assert not value_and_slope(iou_loss, apart, SQUARE)[1].any()
    value, grad = value_and_slope(giou_loss, apart, SQUARE)
    assert_close(value.item(), 4 / 3)
    assert grad[0] > 0, "the near side is drawn to the target"
    assert_close(giou_loss(tensor(0, 0, 1, 1), SQUARE).item(), 3 / 4)  # inside: the IoU loss


def test_diou_tells_places_inside_a_target_apart() -> None:
    target = tensor(0, 0, 4, 4)
    middle, corner = tensor(1, 1, 3, 3), tensor(0, 0, 2, 2)
    assert iou_loss(middle, target) == iou_loss(corner, target)
    assert_close(diou_loss(middle, target).item(), 3 / 4)
    assert_close(diou_loss(corner, target).item(), 3 / 4 + 2 / 32)


def test_ciou_has_its_aspect_term_below_an_iou_of_one_half() -> None:
    """IoU 1/4, v = 4/π² (atan 4 - π/4)²; gated, as in mmdetection, the loss would be 3/4."""
    v = 4 / math.pi**2 * (math.atan(4) - math.pi / 4) ** 2
    got = ciou_loss(tensor(0, 1.5, 4, 2.5), tensor(0, 0, 4, 4))
    assert_close(got.item(), 3 / 4 + v * v / (3 / 4 + v))


def test_ciou_keeps_its_gradient_where_others_clip() -> None:
    # A thin box far from a thin target the other way: above 2, where mmdetection's clamp has no gradient.
    value, grad = value_and_slope(ciou_loss, tensor(1000, 1000, 1001, 1100), tensor(0, 0, 100, 1))
    assert value > 2
    assert (grad != 0).all()


def test_ciou_s_trade_off_is_a_constant_for_the_gradient() -> None:
    inputs = box_pairs(3)
    boxes, targets = inputs.predictions, inputs.targets
    pair = compare_boxes(boxes, targets)
    iou, v = pair_iou(pair), aspect_difference(pair, relative_hull(pair))
    alpha = v / (1 - iou + v)

    def written_out(boxes: Tensor, targets: Tensor, reduction: str) -> Tensor:
        pair = compare_boxes(boxes, targets)
        aspect = aspect_difference(pair, relative_hull(pair))
        return (diou_loss(boxes, targets, reduction="none") + alpha * aspect).sum()

    assert_close(value_and_slope(ciou_loss, boxes, targets), value_and_slope(written_out, boxes, targets))


def test_ciou_of_a_line_and_of_a_point() -> None:
    line, target = tensor(0, 1, 4, 1), tensor(0, 0, 4, 2)
    v = 4 / math.pi**2 * (math.atan(2) - math.atan(4 / 4e-4)) ** 2  # a side counts as 1e-4 of the hull at least
    value, grad = value_and_slope(ciou_loss, line, target)
    assert_close(value.item(), 1 + v * v / (1 + v), rtol=1e-6, atol=0)
    assert grad[3] < 0 < grad[1], "it is drawn apart"
    value, grad = value_and_slope(ciou_loss, tensor(2, 1, 2, 1), target)
    v = 4 / math.pi**2 * (math.atan(2) - math.pi / 4) ** 2
    assert_close(value.item(), 1 + v * v / (1 + v), rtol=1e-6, atol=0)


def test_ciou_s_slope_of_tiny_boxes_fits_into_half_precision() -> None:
    for side in (1e-7, 1e-6, 2e-6, 1e-5, 1e-4):
        box, target = torch.tensor([0, 0, 3 * side, side]).half(), torch.tensor([0, 0, 0.125, 0.125]).half()
        _, grad = value_and_slope(ciou_loss, box, target)
        assert grad.isfinite().all()


def test_eiou_compares_sides_where_ciou_sees_one_aspect() -> None:
    half, target = tensor(1, 1, 3, 3), tensor(0, 0, 4, 4)
    assert_close(ciou_loss(half, target).item(), 3 / 4)
    assert_close(eiou_loss(half, target).item(), 3 / 4 + 1 / 4 + 1 / 4)


def test_eiou_is_not_extended_iou() -> None:
    """What mmdetection calls EIoU is 4/3 + ... here; Zhang's is 1 + 16/40 for squares of one size."""
    assert_close(eiou_loss(tensor(4, 0, 6, 2), SQUARE).item(), 1 + 16 / 40)


def test_focal_eiou_weighs_without_a_gradient() -> None:
    inputs = box_pairs(3)
    boxes, targets = inputs.predictions, inputs.targets
    weights = pair_iou(compare_boxes(boxes, targets)) ** 0.5
    value, grad = value_and_slope(focal_eiou_loss, boxes, targets)
    assert_close((value, grad), value_and_slope(eiou_loss, boxes, targets, weights=weights))
    apart = value_and_slope(focal_eiou_loss, tensor(4, 0, 6, 2), SQUARE)
    assert apart[0] == 0
    assert not apart[1].any()


# SIoU


@pytest.mark.parametrize("distance", [3.0, 10.0, 1e3, 1e6])
def test_siou_of_boxes_far_apart_is_not_zero(distance: float) -> None:
    # mmdetection's default: loss 0 and gradient 0 here.
    far = SQUARE + distance
    value, grad = value_and_slope(siou_loss, far, SQUARE)
    d = distance / (distance + 2)
    assert_close(value.item(), 1 + (2 - 2 * math.exp(-(d**2))) / 2)
    assert (grad > 0).any(), "drawn to the target"
    assert grad.sum() > 0


def test_siou_on_the_first_example_of_the_survey() -> None:
    """[0, 0, 10, 10] beside a box on the diagonal far off: 1 + 1 - 1/e = 1.63 in the limit."""
    value, _ = value_and_slope(siou_loss, tensor(1e9, 1e9, 1e9 + 10, 1e9 + 10), tensor(0, 0, 10, 10))
    assert_close(value.item(), 2 - 1 / math.e, rtol=1e-6, atol=0)


def test_siou_s_angle() -> None:
    """At one distance, straight across costs more than on the diagonal: γ is 2 there and 1 here."""
    across, diagonal = siou_loss(tensor(4, 0, 6, 2), SQUARE), siou_loss(tensor(4, 4, 6, 6), SQUARE)
    assert_close(across.item(), 1 + (1 - math.exp(-2 * (4 / 6) ** 2)) / 2)
    assert_close(diagonal.item(), 1 + 1 - math.exp(-((4 / 6) ** 2)))


def test_siou_s_shape() -> None:
    half = tensor(0.5, 0, 1.5, 2)
    for theta in (2.0, 4.0):
        got = siou_loss(half, SQUARE, theta=theta)
        assert_close(got.item(), 1 / 2 + (1 - math.exp(-1 / 2)) ** theta / 2)
    with pytest.raises(ValueError, match=r"siou_loss: expected theta >= 2, got 1\.5"):
        siou_loss(half, SQUARE, theta=1.5)


def test_siou_on_an_axis_has_a_gradient_without_infinities() -> None:
    for box in (tensor(1, 0, 3, 2), tensor(0, 1, 2, 3), tensor(0, 0, 2, 2), tensor(1, 1, 3, 3)):
        _, grad = value_and_slope(siou_loss, box, SQUARE)
        assert grad.abs().max() < 10


# Alpha IoU


@pytest.mark.parametrize("kind", ["iou", "giou", "diou", "ciou"])
def test_alpha_1_is_the_loss_of_that_kind(kind: str) -> None:
    inputs = box_pairs(3)
    plain = getattr(losses, f"{kind}_loss")
    got = value_and_slope(alpha_iou_loss, inputs.predictions, inputs.targets, kind=kind, alpha=1.0)
    assert_close(got, value_and_slope(plain, inputs.predictions, inputs.targets))


def test_alpha_moves_the_slope_to_good_boxes() -> None:
    target = tensor(0, 0, 1, 1)
    for iou in (0.1, 0.5, 0.9):
        _, grad = value_and_slope(alpha_iou_loss, tensor(0, 0, iou, 1), target)
        assert_close(grad[2].item(), -3 * iou**2)


def test_alpha_of_a_union_that_rounds_above_the_whole() -> None:
    """Boxes in one row that overlap fill their enclosing box: 0.6 + 0.6 - 0.2 may be more than 1."""
    x = torch.rand(1000, 4, generator=torch.Generator().manual_seed(0)).sort(-1).values
    boxes, targets = (torch.stack([low, 0 * low, high, 0 * low + 1], -1) for low, high in (x[:, ::2].T, x[:, 1::2].T))
    _, union = intersection_and_union(compare_boxes(boxes, targets))
    assert (union > 1).any()
    got = alpha_iou_loss(boxes, targets, kind="giou", alpha=1.5, reduction="none")
    assert got.isfinite().all()


def test_alpha_below_2_can_be_differentiated_twice_without_overlap() -> None:
    box = tensor(4, 0, 6, 2).requires_grad_()
    (grad,) = torch.autograd.grad(alpha_iou_loss(box, SQUARE, kind="diou", alpha=1.5), box, create_graph=True)
    assert slope(grad.square().sum(), box).isfinite().all()


@pytest.mark.parametrize(("options", "said"), [({"alpha": 0.5}, "alpha >= 1, got 0.5"), ({"kind": "siou"}, "kind")])
def test_alpha_rejects_what_has_no_meaning(options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=f"alpha_iou_loss: expected {said}"):
        alpha_iou_loss(SQUARE, SQUARE, **options)


# Wise IoU


def test_wise_iou_by_hand() -> None:
    """Shifted by half: 1 - IoU = 2/3, distance 1/13."""
    box = tensor(1, 0, 3, 2)
    first = 2 / 3 * math.exp(1 / 13)
    assert_close(wise_iou_loss(box, SQUARE).item(), first)
    assert_close(wise_iou_loss(box, SQUARE, version="v2", running_mean=1 / 6).item(), 2 * first)
    b, wanted = 4.0, 4 / (3 * 1.9)
    assert_close(wise_iou_loss(box, SQUARE, version="v3", running_mean=1 / 6).item(), wanted * first)
    assert b == (2 / 3) / (1 / 6)


def test_wise_iou_s_factors_are_constants_for_the_gradient() -> None:
    box = tensor(1, 0, 3, 2)
    _, one = value_and_slope(wise_iou_loss, box, SQUARE)
    for version, factor in (("v2", 2.0), ("v3", 4 / (3 * 1.9))):
        _, grad = value_and_slope(wise_iou_loss, box, SQUARE, version=version, running_mean=1 / 6)
        assert_close(grad, factor * one)
    # Numerator of the exponent: d/dx of the centres' squared distance over 13, and no pull to a larger diagonal.
    _, iou = value_and_slope(iou_loss, box, SQUARE)
    pull = tensor(1, 0, 1, 0) / 13
    assert_close(one, math.exp(1 / 13) * (iou + 2 / 3 * pull))


def test_wise_iou_v3_fades_for_outliers() -> None:
    values = [
        wise_iou_loss(tensor(9, 9, 10, 10), SQUARE, version="v3", running_mean=m).item() for m in (0.3, 0.1, 1e-9)
    ]
    assert values[0] > values[1] > values[2] == 0


def test_wise_iou_needs_its_mean() -> None:
    for version in ("v2", "v3"):
        with pytest.raises(ValueError, match=f"wise_iou_loss: expected a running_mean for {version}, got None"):
            wise_iou_loss(SQUARE, SQUARE, version=version)
    with pytest.raises(ValueError, match="wise_iou_loss: expected alpha > 1, got 1"):
        wise_iou_loss(SQUARE, SQUARE, alpha=1)
    with pytest.raises(ValueError, match=r"WiseIoULoss: expected momentum in \(0, 1\], got 0"):
        WiseIoULoss(momentum=0)


def test_the_running_mean_moves_in_training_after_it_was_used() -> None:
    module = WiseIoULoss(version="v3", momentum=0.25)
    boxes, targets = tensor(1, 0, 3, 2, 9, 9, 10, 10).view(2, 4), SQUARE.expand(2, 4)
    first = module(boxes, targets)
    assert_close(first, wise_iou_loss(boxes, targets, version="v3", running_mean=1.0))
    assert_close(module.running_mean, torch.tensor(0.75 + 0.25 * (2 / 3 + 1) / 2))
    module(boxes, targets, mask=torch.tensor([True, False]))
    moved = module.running_mean.clone()
    assert_close(moved, torch.tensor(0.75 * (0.75 + 0.25 * 5 / 6) + 0.25 * 2 / 3))
    for bad in (boxes[:0], boxes * math.nan):
        module(bad, targets[: len(bad)])
        assert module.running_mean == moved, "nothing valid, or a step to be skipped"
    module.eval()
    module(boxes, targets)
    assert module.running_mean == moved
    assert list(module.state_dict()) == ["running_mean"]
    assert not list(WiseIoULoss().state_dict())


def mean_on_rank(rank: int, folder: Path) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    boxes = tensor(1, 0, 3, 2, 9, 9, 10, 10, 0, 0, 2, 2).view(3, 4)
    module = WiseIoULoss(version="v2", momentum=1.0)
    module(boxes[:2] if rank else boxes[2:], SQUARE.expand(2 if rank else 1, 4))
    torch.save(module.running_mean, folder / f"{rank}.pt")
    torch.distributed.barrier()  # a rank that leaves first can take the other's connection with it
    torch.distributed.destroy_process_group()


def test_the_running_mean_is_that_of_all_ranks(tmp_path: Path) -> None:
    mp.spawn(mean_on_rank, args=(tmp_path,), nprocs=2)
    for rank in range(2):
        assert_close(torch.load(tmp_path / f"{rank}.pt"), torch.tensor((2 / 3 + 1 + 0) / 3))


# MPDIoU, Inner IoU, Shape IoU, NWD


def test_mpdiou_is_that_of_the_corners() -> None:
    box, target = tensor(1, 2, 5, 4), tensor(0, 0, 4, 4)
    iou = 6 / (8 + 16 - 6)
    assert_close(mpdiou_loss(box, target).item(), 1 - iou + (1 + 4 + 1 + 0) / (25 + 16))
    assert_close(mpdiou_loss(box, target, image_size=(30, 40)).item(), 1 - iou + 6 / 2500)


def test_mpdiou_of_a_moved_box_is_twice_the_distance_of_diou() -> None:
    box = tensor(4, 3, 6, 5)
    assert_close(mpdiou_loss(box, SQUARE) - 1, 2 * (diou_loss(box, SQUARE) - 1))


@pytest.mark.parametrize("size", [(0, 5), (4, -1), (3, 4, 5)])
def test_mpdiou_rejects_an_image_without_size(size: tuple) -> None:
    with pytest.raises(ValueError, match="mpdiou_loss: expected image_size to be a positive"):
        mpdiou_loss(SQUARE, SQUARE, image_size=size)


@pytest.mark.parametrize("kind", ["iou", "giou", "diou", "ciou", "eiou", "siou"])
def test_inner_iou_of_ratio_1_is_the_loss_of_that_kind(kind: str) -> None:
    inputs = box_pairs(3)
    got = value_and_slope(inner_iou_loss, inputs.predictions, inputs.targets, ratio=1.0, kind=kind)
    assert_close(got, value_and_slope(getattr(losses, f"{kind}_loss"), inputs.predictions, inputs.targets))


def test_inner_iou_makes_boxes_overlap_that_do_not() -> None:
    apart = tensor(3, 0, 5, 2)
    assert not value_and_slope(inner_iou_loss, apart, SQUARE, ratio=0.7)[1].any()
    value, grad = value_and_slope(inner_iou_loss, apart, SQUARE, ratio=2.0)
    assert_close(value.item(), 1 - 4 / 28)  # 4 x 4 each, shifted by 3
    assert grad.sum() > 0
    with pytest.raises(ValueError, match=r"inner_iou_loss: expected ratio > 0, got 0"):
        inner_iou_loss(apart, SQUARE, ratio=0)


def test_shape_iou_without_scale_is_diou_and_siou_s_shape() -> None:
    box, target = tensor(1, 1, 3, 4), tensor(0, 0, 4, 2)
    shape = ((1 - math.exp(-1 / 2)) ** 4 + (1 - math.exp(-1 / 3)) ** 4) / 2
    assert_close(shape_iou_loss(box, target), diou_loss(box, target) + shape)


def test_shape_iou_of_a_target_without_area_weighs_both_axes_alike() -> None:
    point, box = tensor(1, 1, 1, 1), tensor(3, 2, 5, 4)
    assert_close(shape_iou_loss(box, point, scale=1.0), shape_iou_loss(box, point))


def test_nwd_depends_on_the_unit_alone() -> None:
    box, target = tensor(3, 4, 7, 6), SQUARE
    distance = math.sqrt(4**2 + 4**2 + (2**2 + 0) / 4)
    assert_close(nwd_loss(box, target).item(), 1 - math.exp(-distance / 12.8))
    assert_close(nwd_loss(box / 640, target / 640, constant=12.8 / 640), nwd_loss(box, target))
    assert_close(nwd_loss(box + 100, target + 100), nwd_loss(box, target))


def test_nwd_near_its_tip_has_a_slope_and_on_it_none() -> None:
    _, grad = value_and_slope(nwd_loss, SQUARE + 1e-9, SQUARE)
    assert_close(grad.sum().item(), math.sqrt(2) / 12.8, rtol=1e-6, atol=0)
    _, grad = value_and_slope(nwd_loss, SQUARE, SQUARE)
    assert not grad.any()
