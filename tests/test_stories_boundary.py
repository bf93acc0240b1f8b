"""Lovász, boundary, Hausdorff and centre-line losses on hand-drawn cases, and where other libraries went wrong."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import matchloss
from by_hand import logit, slope, tensor
from inputs import class_logits, generator
from matchloss.losses import (
    boundary_loss,
    hausdorff_loss,
    lovasz_hinge_loss,
    lovasz_softmax_loss,
    sigmoid_boundary_loss,
    sigmoid_hausdorff_loss,
    sigmoid_soft_cldice_loss,
    signed_distance_maps,
    soft_cldice_loss,
)
from matchloss.losses._lovasz import jaccard_weights

SURE = 40.0  # a logit whose sigmoid is 1 in float32


def two_classes(*probabilities: float) -> Tensor:
    """(1, 2, P) logits whose class 1 has these probabilities."""
    second = tensor(*(logit(p) for p in probabilities))
    return torch.stack([torch.zeros_like(second), second])[None]


def drawn(*rows: str) -> Tensor:
    """(H, W) map, 1 at #."""
    return torch.tensor([[float(pixel == "#") for pixel in row] for row in rows])


def both_paths(call: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    with matchloss.reference():
        plain = call()
    return call(), plain


# Lovász


def test_lovasz_weights_by_hand() -> None:
    """Two pixels of class 1 with errors 0.5 and 0.2, one of class 0 with 0.8, which is also class 1's largest error.

    Class 1, by errors 0.8, 0.5, 0.2: IoU falls from 1 to 2/3, 1/3 and 0, so each weighs 1/3. Class 0 has one pixel:
    the first error takes IoU to 0 and the others weigh nothing.
    """
    got = lovasz_softmax_loss(two_classes(0.5, 0.8, 0.8), torch.tensor([[1, 1, 0]]), reduction="none")
    assert_close(got, tensor(0.8, (0.8 + 0.5 + 0.2) / 3)[None])


def test_lovasz_of_hard_predictions_is_one_minus_iou() -> None:
    """Class 1 is predicted at 2 of its 3 pixels and at one more: 1 - 2/4; class 0: 1 - 1/3."""
    logits = SURE * torch.tensor([[[-1.0, -1, 1, -1, 1], [1, 1, -1, 1, -1]]])
    got = lovasz_softmax_loss(logits, torch.tensor([[1, 1, 1, 0, 0]]), reduction="none")
    assert_close(got, torch.tensor([[2 / 3, 1 / 2]]))


def test_lovasz_hinge_of_unit_margins_is_twice_one_minus_iou() -> None:
    logits, targets = torch.tensor([[1.0, 1, -1, 1, -1]]), torch.tensor([[1, 1, 1, 0, 0]])
    assert_close(lovasz_hinge_loss(logits, targets).item(), 2 * (1 - 2 / 4))
    assert lovasz_hinge_loss(7 * (2.0 * targets - 1), targets) == 0


def test_lovasz_knows_no_order_of_classes() -> None:
    # kornia up to August 2026 sorted label numbers in place of the indicator of each class.
    inputs = class_logits(2)
    order = torch.tensor([2, 0, 3, 1])
    renamed = torch.where(inputs.targets >= 0, order.argsort()[inputs.targets.clamp(min=0)], -100)
    got = lovasz_softmax_loss(inputs.predictions[:, order], renamed, reduction="none")
    assert_close(got, lovasz_softmax_loss(inputs.predictions, inputs.targets, reduction="none")[:, order])


@pytest.mark.parametrize("per_image", [False, True])
def test_ignored_pixels_change_nothing_at_all(per_image: bool) -> None:
    """Bit by bit as if they were cut out, also where their error ties with one that counts."""
    logits = torch.randn(3, 4, 50, generator=generator(0))
    logits[:, :, 10:20] = SURE * torch.nn.functional.one_hot(torch.arange(10) % 4, 4).T - SURE / 2  # errors of 0 and 1
    labels = torch.randint(0, 4, (3, 50), generator=generator(1))
    labels[:, 10:20] = torch.arange(10) % 4
    between = torch.zeros(3, 4, 100).index_copy(2, torch.arange(0, 100, 2), logits)
    between[:, :, 1::2] = logits.flip(2)
    ignored = torch.full((3, 100), -100).index_copy(1, torch.arange(0, 100, 2), labels)

    def value_and_slope(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        x = x.clone().requires_grad_()
        value = lovasz_softmax_loss(x, y, per_image=per_image, classes="all")
        return value.detach(), slope(value, x)

    for wanted, got in zip(
        both_paths(lambda: value_and_slope(logits, labels)),
        both_paths(lambda: value_and_slope(between, ignored)),
        strict=True,
    ):
        assert_close(got[0], wanted[0], rtol=1e-6, atol=0)  # sums of another length round otherwise
        assert torch.equal(got[1][:, :, ::2], wanted[1])
        assert not got[1][:, :, 1::2].any()


def test_an_ignored_image_is_left_out_of_the_mean() -> None:
    # segmentation_models_pytorch returns an empty tensor if all is ignored; the authors count such an image as 0.
    logits, labels = two_classes(0.5, 0.5).expand(2, -1, -1), torch.tensor([[1, 0], [-100, -100]])
    assert_close(lovasz_softmax_loss(logits, labels, per_image=True), lovasz_softmax_loss(logits[:1], labels[:1]))
    hinge = lovasz_hinge_loss(logits[:, 1], labels, per_image=True)
    assert_close(hinge, lovasz_hinge_loss(logits[:1, 1], labels[:1]))
    for classes in ("present", "all"):
        leaf = logits.clone().requires_grad_()
        value = lovasz_softmax_loss(leaf, torch.full((2, 2), -100), classes=classes)
        assert value == 0
        assert not slope(value, leaf).any()


def test_an_absent_class_counts_only_if_asked_for() -> None:
    logits, labels = two_classes(0.1, 0.3), torch.tensor([[0, 0]])
    # Class 0 has errors 0.3 and 0.1, each of half the region.
    assert_close(lovasz_softmax_loss(logits, labels).item(), 0.2)
    assert_close(lovasz_softmax_loss(logits, labels, classes="all").item(), (0.2 + 0.3) / 2)
    weights = tensor(1, 3)
    got = lovasz_softmax_loss(logits, labels, classes="all", class_weights=weights)
    assert_close(got.item(), (0.2 + 3 * 0.3) / 4)
    assert_close(lovasz_softmax_loss(logits, labels, class_weights=weights).item(), 0.2)


def test_a_batch_is_one_image_unless_asked_otherwise() -> None:
    """IoU of the two images together is 2/4; by themselves 1 and 0."""
    logits = torch.tensor([[SURE, SURE], [-SURE, -SURE]])
    targets = torch.tensor([[1, 1], [1, 1]])
    assert_close(lovasz_hinge_loss(logits, targets).item(), (1 + SURE) * 1 / 2)
    alone = lovasz_hinge_loss(logits, targets, per_image=True, reduction="none")
    assert_close(alone, torch.tensor([0, 1 + SURE]))


def test_lovasz_hinge_ignores_what_it_is_told_to() -> None:
    # kornia takes any target; -100 can make its loss negative.
    logits = torch.tensor([[0.5, -0.5, 3.0]])
    wanted = lovasz_hinge_loss(logits[:, :2], torch.tensor([[1, 0]]))
    for ignore, dtype in ((-100, torch.int64), (255, torch.uint8), (-100, torch.float32)):
        targets = torch.tensor([[1, 0, ignore]], dtype=dtype)
        assert lovasz_hinge_loss(logits, targets, ignore_index=ignore) == wanted
    with pytest.raises(ValueError, match=r"targets of 0, 1 or ignore_index=-100, got 255"):
        lovasz_hinge_loss(logits, torch.tensor([[1, 0, 255]]))
    with pytest.raises(ValueError, match=r"targets of 0, 1 or ignore_index=-100, got 156"):
        lovasz_hinge_loss(logits, torch.tensor([[1, 0, 156]], dtype=torch.uint8))  # -100 in eight bits


def test_lovasz_softmax_says_that_it_takes_labels() -> None:
    with pytest.raises(ValueError, match=r"lovasz_softmax_loss: expected integer labels, .*\(1, 2, 3\)"):
        lovasz_softmax_loss(torch.zeros(1, 2, 3), torch.full((1, 2, 3), 0.5))
    with pytest.raises(ValueError, match="classes to be one of 'present', 'all', got 'some'"):
        lovasz_softmax_loss(torch.zeros(1, 2, 3), torch.zeros(1, 3, dtype=torch.long), classes="some")


@pytest.mark.parametrize("share", [0.0, 1e-5, 0.5])
def test_jaccard_weights_keep_their_digits_on_large_images(share: float) -> None:
    # Neighbours of 1 - IoU, subtracted in float32, are a tenth off at two million pixels.
    size = 2**21
    errors = torch.rand(1, size, generator=generator(0))
    foreground = torch.rand(1, size, generator=generator(1)) < share
    exact = jaccard_weights(errors.double(), foreground, None)
    assert_close(jaccard_weights(errors, foreground, None).double(), exact, rtol=1e-6, atol=0)
    assert_close(exact.sum().item(), 1.0)


def test_lovasz_is_the_same_in_any_number_of_threads() -> None:
    logits, labels = torch.randn(2, 5, 300, generator=generator(0)), torch.arange(600).view(2, 300) % 5
    alone = lovasz_softmax_loss(logits, labels, reduction="none")
    torch.set_num_threads(3)
    try:
        assert torch.equal(lovasz_softmax_loss(logits, labels, reduction="none"), alone)
    finally:
        torch.set_num_threads(1)


# Distance maps


def test_signed_distances_by_hand() -> None:
    region = drawn(".....", ".###.", ".###.", ".###.", ".....")
    maps = signed_distance_maps(region[None].long(), 2)
    outer = [math.sqrt(2), 1, 1, 1, math.sqrt(2)]
    wanted = torch.tensor([outer, [1, 0, 0, 0, 1], [1, 0, -1, 0, 1], [1, 0, 0, 0, 1], outer])
    assert maps.shape == (1, 2, 5, 5)
    assert maps.dtype == torch.float32
    assert_close(maps[0, 1], wanted)


def test_an_absent_class_and_one_that_fills_the_image_have_no_boundary() -> None:
    assert not signed_distance_maps(torch.ones(1, 3, 4, dtype=torch.long), 3).any()


def test_distances_do_not_pass_from_image_to_image() -> None:
    labels = torch.zeros(2, 1, 5, dtype=torch.long)
    labels[0, 0, 0] = labels[1, 0, 4] = 1
    maps = signed_distance_maps(labels, 2)
    assert maps[0, 1].tolist() == [[0, 1, 2, 3, 4]]
    assert maps[1, 1].tolist() == [[4, 3, 2, 1, 0]]


def test_distances_run_through_a_volume() -> None:
    volume = torch.zeros(1, 4, 3, 3, dtype=torch.long)
    volume[0, 0, 1, 1] = 1
    maps = signed_distance_maps(volume, 2)
    assert maps[0, 1, 3, 1, 1] == 3
    assert_close(maps[0, 1, 2, 2, 2].item(), math.sqrt(2**2 + 1 + 1))


def test_spacing_stretches_an_axis_and_never_turns_the_inside_out() -> None:
    # With 1 taken off whatever the spacing, as in the authors' code, the pixel inside would have +0.5.
    labels = torch.tensor([[[0, 1, 1, 0, 0], [0, 0, 0, 0, 0]]])
    maps = signed_distance_maps(labels, 2, spacing=(3, 0.5))[0, 1]
    assert_close(
        maps, torch.tensor([[0.5, 0, 0, 0.5, 1], [math.hypot(3, 0.5), 3, 3, math.hypot(3, 0.5), math.hypot(3, 1)]])
    )


def test_ignored_pixels_are_outside_of_every_class() -> None:
    labels = torch.tensor([[[0, 0, 255, 1, 1, 1]]])
    maps = signed_distance_maps(labels, 2, ignore_index=255)[0, :, 0]
    assert maps[0].tolist() == [-1, 0, 1, 2, 3, 4]
    assert maps[1].tolist() == [3, 2, 1, 0, -1, -2]
    assert not signed_distance_maps(labels.clamp(max=1), 2, ignore_index=0)[:, 0].any()  # a class of its own, absent


@pytest.mark.parametrize("labels", [torch.zeros(4, 4), torch.zeros(1, 2, 3, 4, 5)])
def test_what_is_neither_image_nor_volume_is_an_error(labels: Tensor) -> None:
    with pytest.raises(ValueError, match="expected 2 or 3 dimensions of space"):
        signed_distance_maps(labels.long(), 2)


def test_spacing_must_fit() -> None:
    for spacing in ((1, 1, 1), (1, 0)):
        with pytest.raises(ValueError, match="signed_distance_maps: expected spacing of 2 positive numbers"):
            signed_distance_maps(torch.zeros(1, 3, 3, dtype=torch.long), 2, spacing=spacing)


# Boundary


def test_boundary_loss_by_hand() -> None:
    """φ of the middle region is (1, 0, -1, 0, 1); p = 1 at the left three: 1 + 0 - 1 over five pixels."""
    logits = SURE * torch.tensor([[[[1.0, 1, 1, -1, -1]]]])
    targets = torch.tensor([[[[0.0, 1, 1, 1, 0]]]])
    assert_close(sigmoid_boundary_loss(logits, targets), torch.tensor(0.0), atol=1e-6, rtol=0)
    right = SURE * (2 * targets - 1)
    assert_close(sigmoid_boundary_loss(right, targets).item(), -1 / 5)


def test_far_false_alarms_cost_more_than_near_ones() -> None:
    targets = torch.zeros(1, 1, 1, 9)
    targets[..., 0] = 1
    costs = []
    for place in range(1, 9):
        logits = torch.full((1, 1, 1, 9), -SURE)
        logits[..., place] = SURE
        costs.append(sigmoid_boundary_loss(logits, targets, reduction="sum").item())
    assert costs == pytest.approx(range(1, 9))


def test_maps_of_the_data_loader_are_the_maps_of_the_loss() -> None:
    inputs = class_logits(3)
    for classes in (None, [1, 2], [2]):
        maps = signed_distance_maps(inputs.targets, 4)
        given = boundary_loss(inputs.predictions, inputs.targets, distance_maps=maps, classes=classes)
        assert_close(given, boundary_loss(inputs.predictions, inputs.targets, classes=classes), rtol=1e-6, atol=0)
    with pytest.raises(ValueError, match="no spacing beside distance_maps"):
        boundary_loss(inputs.predictions, inputs.targets, distance_maps=maps, spacing=(1, 2))
    with pytest.raises(ValueError, match=r"logits=\(3, 4, 3, 5\), distance_maps=\(2, 4, 3, 5\)"):
        boundary_loss(inputs.predictions, inputs.targets, distance_maps=maps[:2])


def test_nan_maps_under_an_ignored_pixel_do_no_harm() -> None:
    inputs = class_logits(2)
    maps = signed_distance_maps(inputs.targets, 4)
    poisoned = torch.where((inputs.targets == -100).unsqueeze(1), math.nan, maps)
    slopes = []
    for distances in (maps, poisoned):
        leaf = inputs.predictions.clone().requires_grad_()
        slopes.append(slope(boundary_loss(leaf, inputs.targets, distance_maps=distances), leaf))
    assert torch.equal(*slopes)


FORMS = [boundary_loss, hausdorff_loss, soft_cldice_loss]


@pytest.mark.parametrize("loss", FORMS, ids=lambda loss: loss.__name__)
def test_classes_last_and_a_class_at_a_time(loss: Callable[..., Tensor]) -> None:
    inputs = class_logits(2)
    logits, labels = inputs.predictions, inputs.targets
    assert_close(loss(logits.movedim(1, -1), labels, class_dim=-1), loss(logits, labels))
    apart = torch.stack([loss(logits, labels, classes=[index]) for index in range(4)])
    assert_close(loss(logits, labels), apart.mean())
    for wrong in ([], [1, 1], [-1], [4]):
        with pytest.raises(ValueError, match=r"classes to be different indices in \[0, 4\)"):
            loss(logits, labels, classes=wrong)


@pytest.mark.parametrize("loss", FORMS, ids=lambda loss: loss.__name__)
def test_losses_know_no_order_of_classes(loss: Callable[..., Tensor]) -> None:
    # mmsegmentation's Hausdorff loss compares probabilities with label numbers.
    inputs = class_logits(2)
    order = torch.tensor([2, 0, 3, 1])
    renamed = torch.where(inputs.targets >= 0, order.argsort()[inputs.targets.clamp(min=0)], -100)
    assert_close(loss(inputs.predictions[:, order], renamed), loss(inputs.predictions, inputs.targets))


@pytest.mark.parametrize(
    "loss", [sigmoid_boundary_loss, sigmoid_hausdorff_loss, sigmoid_soft_cldice_loss], ids=lambda loss: loss.__name__
)
def test_binary_maps_come_as_maps_or_labels_with_or_without_classes(loss: Callable[..., Tensor]) -> None:
    logits = torch.randn(2, 3, 6, 5, generator=generator(0), dtype=torch.float64)
    labels = torch.randint(-1, 3, (2, 6, 5), generator=generator(1))
    maps = torch.stack([labels == index for index in range(3)], 1)
    wanted = loss(logits, maps.double())
    assert_close(loss(logits, maps), wanted)
    assert_close(loss(logits, labels), wanted)
    assert_close(loss(logits.movedim(1, -1), maps.movedim(1, -1), class_dim=-1), wanted)
    assert_close(loss(logits.flatten(0, 1), maps.flatten(0, 1), class_dim=None), wanted)
    assert loss(logits.movedim(1, -1), labels, class_dim=-1, reduction="none").shape in ((2, 6, 5, 3), (2, 3))
    with pytest.raises(ValueError, match="2 or 3 dimensions of space"):
        loss(logits[:, 0], maps[:, 0])
    with pytest.raises(
        ValueError, match=r"targets of shape \(2, 3, 6, 5\) or labels of shape \(2, 6, 5\), got \(2, 5, 6\)"
    ):
        loss(logits, labels.mT)


# Hausdorff


def test_hausdorff_by_hand() -> None:
    """Truth is the left pixel of four, D = (1, 1, 2, 3). Predicted is the right one: D = (3, 2, 1, 1).

    Wrong are both ends: 1 + 9 and 9 + 1 over four pixels.
    """
    logits = SURE * torch.tensor([[[[-1.0, -1, -1, 1]]]])
    targets = torch.tensor([[[[1.0, 0, 0, 0]]]])
    assert_close(sigmoid_hausdorff_loss(logits, targets).item(), 20 / 4)
    assert_close(sigmoid_hausdorff_loss(logits, targets, alpha=1).item(), (4 + 4) / 4)


def test_hausdorff_costs_grow_with_the_distance() -> None:
    """A false pixel at distance d of a region: d² from the truth and its own distance of 1."""
    targets = torch.zeros(1, 1, 1, 12)
    targets[..., :2] = 1
    for distance in (2, 4, 8):
        logits = SURE * (2 * targets - 1)
        logits[..., 1 + distance] = SURE
        assert_close(sigmoid_hausdorff_loss(logits, targets, reduction="sum").item(), distance**2 + 1.0)


def test_distances_are_constants_of_the_gradient() -> None:
    """p = 1/2 is no region, D of the truth is (1, 1, 2): the slope is 2 (p - t) p (1 - p) D² over three pixels."""
    logits = torch.zeros(1, 1, 1, 3, dtype=torch.float64, requires_grad=True)
    loss = sigmoid_hausdorff_loss(logits, torch.tensor([[[[1.0, 0, 0]]]]))
    assert_close(slope(loss, logits).flatten(), tensor(-1, 1, 4) / 4 / 3)


def test_nothing_true_and_nothing_predicted_costs_nothing() -> None:
    logits, empty = torch.full((1, 1, 4, 4), -1.0), torch.zeros(1, 1, 4, 4)
    assert sigmoid_hausdorff_loss(logits, empty) == 0
    assert sigmoid_boundary_loss(logits, empty) == 0


# Centre lines


def cldice(prediction: Tensor, target: Tensor, **options: float) -> float:
    logits = SURE * (2 * prediction.double() - 1)
    return sigmoid_soft_cldice_loss(logits[None, None], target[None, None], **options).item()


WIDE = drawn("........", "########", "########", "########", "........")
THIN = drawn("........", "........", "########", "........", "........")
GAP = drawn("........", "........", "###.####", "........", "........")


def test_cldice_sees_the_line_and_not_its_width() -> None:
    # Nothing is dropped: MONAI before 1.5 dropped class 0 also of a single map, and its loss was always 0.
    assert cldice(THIN, THIN) == pytest.approx(0, abs=1e-6)
    assert cldice(WIDE, THIN) == pytest.approx(0, abs=1e-6)
    assert cldice(THIN, WIDE) == pytest.approx(0, abs=1e-6)
    # A gap of one pixel in eight: A = 1 and B = (7 + 1) / (8 + 1).
    b = 8 / 9
    assert cldice(GAP, THIN) == pytest.approx(1 - 2 * b / (1 + b))


def test_a_gap_in_a_wide_line_costs_no_less() -> None:
    wide_gap = WIDE.clone()
    wide_gap[:, 3] = 0
    assert cldice(wide_gap, WIDE) >= cldice(GAP, THIN) - 1e-6


def test_cldice_of_a_line_through_a_volume() -> None:
    line = torch.zeros(1, 1, 6, 5, 5, dtype=torch.float64)
    line[..., 2, 2] = 1
    broken = line.clone()
    broken[:, :, 3] = 0
    logits = SURE * (2 * broken - 1)
    b = (5 + 1) / (6 + 1)
    assert sigmoid_soft_cldice_loss(logits, line).item() == pytest.approx(1 - 2 * b / (1 + b))
    labels = line[:, 0].long()
    both = torch.cat([-logits, logits], 1)
    assert soft_cldice_loss(both, labels, classes=[1]).item() == pytest.approx(1 - 2 * b / (1 + b))


def test_cldice_of_an_image_does_not_depend_on_the_others() -> None:
    # MONAI before 1.6 pooled the batch.
    logits = torch.randn(3, 2, 7, 8, generator=generator(0))
    maps = (torch.rand(3, 2, 7, 8, generator=generator(1)) < 0.4).float()
    together = sigmoid_soft_cldice_loss(logits, maps, reduction="none")
    assert together.shape == (3, 2)
    for index in range(3):
        one = slice(index, index + 1)
        assert_close(sigmoid_soft_cldice_loss(logits[one], maps[one], reduction="none"), together[one])


@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_cldice_of_nothing_is_finite(smooth: float) -> None:
    empty = torch.zeros(1, 1, 5, 5)
    for target in (empty, 1 - empty):
        logits = torch.full((1, 1, 5, 5), -200.0, requires_grad=True)  # p is exactly 0
        value = sigmoid_soft_cldice_loss(logits, target, smooth=smooth)
        assert value.isfinite()
        assert slope(value, logits).isfinite().all()
    assert sigmoid_soft_cldice_loss(torch.full((1, 1, 5, 5), -200.0), empty, smooth=smooth) == 0


def test_cldice_of_lines_that_never_meet_is_one() -> None:
    """Without `smooth` A = B = 0, and the harmonic mean of nothing must be 0, not NaN."""
    predicted, target = drawn("#####", ".....", ".....", "....."), drawn(".....", ".....", ".....", "#####")
    logits = (400 * predicted - 200)[None, None].requires_grad_()  # p is exactly 0 or 1 in float32
    value = sigmoid_soft_cldice_loss(logits, target[None, None], smooth=0)
    assert value == 1
    assert slope(value, logits).isfinite().all()
