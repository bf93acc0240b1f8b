"""Classification losses on cases one can do in the head, and on those where other libraries went wrong."""

import math

import pytest
import torch

from by_hand import HALF, logit, pixels, slope, tensor
from matchloss import losses
from matchloss.losses import (
    asymmetric_loss,
    balanced_binary_cross_entropy_loss,
    binary_cross_entropy_loss,
    cross_entropy_loss,
    iou_aware_binary_cross_entropy_loss,
    matchability_aware_loss,
    poly1_cross_entropy_loss,
    quality_focal_loss,
    sigmoid_focal_loss,
    softmax_focal_loss,
    varifocal_loss,
)

# Focal: what alpha and gamma do


def test_alpha_alone_is_the_balanced_cross_entropy() -> None:
    got = sigmoid_focal_loss(tensor(0, 0), tensor(1, 0), alpha=0.25, gamma=0, reduction="none")
    torch.testing.assert_close(got, tensor(0.25 * HALF, 0.75 * HALF))


def test_gamma_alone_weighs_both_kinds_alike() -> None:
    got = sigmoid_focal_loss(tensor(logit(0.9), logit(0.1)), tensor(1, 0), alpha=None, gamma=2, reduction="none")
    torch.testing.assert_close(got, tensor(1, 1) * 0.1**2 * -math.log(0.9))


def test_alpha_and_gamma_multiply() -> None:
    got = sigmoid_focal_loss(tensor(0), tensor(1), alpha=0.25, gamma=2)
    torch.testing.assert_close(got.item(), 0.25 * 0.5**2 * HALF)


@pytest.mark.parametrize("form", ["sigmoid", "softmax"])
def test_a_larger_gamma_favours_the_hard_examples(form: str) -> None:
    """Right class at 0.9 (easy) and 0.1 (hard): the ratio of their losses is 9^γ log 0.1 / log 0.9."""
    ratios = []
    for gamma in (0, 0.5, 1, 2, 5):
        if form == "sigmoid":
            logits, ones = tensor(logit(0.9), logit(0.1)), tensor(1, 1)
            easy, hard = sigmoid_focal_loss(logits, ones, gamma=gamma, reduction="none").tolist()
        else:
            easy, hard = softmax_focal_loss(*pixels(0.9, 0.1), gamma=gamma, reduction="none")[0].tolist()
        assert hard / easy == pytest.approx(9**gamma * math.log(0.1) / math.log(0.9))
        ratios.append(hard / easy)
    assert ratios == sorted(ratios)


def test_softmax_focal_without_gamma_and_alpha_is_bitwise_cross_entropy() -> None:
    # kornia and MONAI return the cross entropy over C here; segmentation_models_pytorch a mean of sigmoid terms.
    logits = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(14).view(2, 7) % 5
    assert torch.equal(softmax_focal_loss(logits, labels, gamma=0), cross_entropy_loss(logits, labels))
    soft = torch.nn.functional.one_hot(labels, 5).movedim(-1, 1).float()
    torch.testing.assert_close(softmax_focal_loss(logits, soft), softmax_focal_loss(logits, labels))


def test_softmax_focal_sum_is_a_sum() -> None:
    # MONAI's sum first averages over space.
    logits, labels = pixels(0.5, 0.5, 0.5)
    torch.testing.assert_close(softmax_focal_loss(logits, labels, reduction="sum").item(), 3 * 0.25 * HALF)


def test_softmax_focal_uses_one_probability_throughout() -> None:
    # pytorch-toolbelt multiplies a sigmoid cross entropy by a softmax modulator.
    logits, labels = pixels(0.8)
    torch.testing.assert_close(softmax_focal_loss(logits, labels).item(), 0.2**2 * -math.log(0.8))


def test_softmax_focal_alpha_per_class_multiplies_and_does_not_divide() -> None:
    logits = torch.zeros(1, 2, 2, dtype=torch.float64)
    labels = torch.tensor([[0, 1]])
    got = softmax_focal_loss(logits, labels, alpha=tensor(3, 1), gamma=0)
    torch.testing.assert_close(got.item(), (3 + 1) * HALF / 2)
    assert softmax_focal_loss(logits, labels, alpha=0.5, gamma=0).item() == pytest.approx(HALF / 2)


@pytest.mark.parametrize("size", [20.0, 40.0, 1e4])
def test_gamma_below_one_has_finite_gradients_at_saturation(size: float) -> None:
    # torchvision's, fvcore's and (before a fix) optax' sigmoid focal loss return NaN gradients here.
    logits = torch.tensor([size, -size], requires_grad=True)
    for targets in (torch.ones(2), torch.zeros(2)):
        for loss in (
            sigmoid_focal_loss(logits, targets, gamma=0.5),
            quality_focal_loss(logits, targets, beta=0.5),
            varifocal_loss(logits, targets, gamma=0.5),
            matchability_aware_loss(logits, targets, gamma=0.5, detach=False),
            iou_aware_binary_cross_entropy_loss(logits, targets, gamma=0.5),
            asymmetric_loss(logits, targets, gamma_negative=0.5, gamma_positive=0.5),
        ):
            assert slope(loss, logits).isfinite().all()
    classes = torch.tensor([[size, -size]], requires_grad=True)
    for label in (0, 1):
        assert slope(softmax_focal_loss(classes, torch.tensor([label]), gamma=0.5), classes).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_focal_tails_keep_their_digits(dtype: torch.dtype) -> None:
    # (1 - p)^2 by subtraction is off by 12 % at x = 16 in float32, by 100 % at x = 8 in bfloat16.
    logits = torch.tensor([4.0, 8.0, 16.0, 20.0], dtype=dtype)
    for loss in (sigmoid_focal_loss, quality_focal_loss):
        got = loss(logits, torch.ones(4), reduction="none")
        torch.testing.assert_close(got.double(), loss(logits.double(), tensor(1, 1, 1, 1), reduction="none"))
        assert (got > 0).all()


def test_hard_positives_keep_their_gradient_in_the_tail() -> None:
    # Keras clips p at 1e-7 and ASL's code at 1e-8: beyond it their gradient is 0.
    logits = torch.tensor([-30.0], requires_grad=True)
    one = torch.ones(1)
    torch.testing.assert_close(slope(sigmoid_focal_loss(logits, one, alpha=None), logits).item(), -1.0)
    torch.testing.assert_close(slope(asymmetric_loss(logits, one), logits).item(), -1.0)
    torch.testing.assert_close(slope(balanced_binary_cross_entropy_loss(logits, one), logits).item(), -0.5)


def test_focal_on_nothing_is_zero() -> None:
    # torchvision's mean of nothing is NaN.
    assert sigmoid_focal_loss(torch.zeros(0, 3), torch.zeros(0, 3)).item() == 0
    assert softmax_focal_loss(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)).item() == 0


def test_labels_and_one_hot_agree_and_ignored_rows_leave_the_mean() -> None:
    # segmentation_models_pytorch's multilabel focal crashes with ignore_index; mmsegmentation's CPU path reads one
    # column of the logits.
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([2, -1, -100, 0])
    one_hot = torch.tensor([[0, 0, 1.0], [0, 0, 0], [1, 0, 0]])
    kept = logits[[0, 1, 3]]
    for loss in (
        sigmoid_focal_loss,
        binary_cross_entropy_loss,
        balanced_binary_cross_entropy_loss,
        quality_focal_loss,
        varifocal_loss,
        matchability_aware_loss,
        iou_aware_binary_cross_entropy_loss,
        asymmetric_loss,
    ):
        torch.testing.assert_close(loss(logits, labels), loss(kept, one_hot))


# Cross entropy and its binary form


def test_cross_entropy_counts_ignored_elements_nowhere() -> None:
    # segmentation_models_pytorch halves the loss when half is ignored; torch returns NaN when all is.
    logits, labels = pixels(0.5, 0.5)
    labels[0, 1] = -100
    torch.testing.assert_close(cross_entropy_loss(logits, labels).item(), HALF)
    assert cross_entropy_loss(logits, torch.full_like(labels, -100)).item() == 0


def test_class_weights_divide_by_their_sum_and_know_the_label_255() -> None:
    # mmdetection divides by the number of rows; mmsegmentation indexes the weights with 255 and raises.
    logits, labels = pixels(0.5, 0.5, 0.5)
    labels[0] = torch.tensor([0, 1, 255])
    logits[0, 1, 0] = logit(0.2)  # the pixel of class 0: its class has p = 0.8
    got = cross_entropy_loss(logits, labels, class_weights=tensor(3, 1), ignore_index=255)
    torch.testing.assert_close(got.item(), (3 * -math.log(0.8) + HALF) / 4)


@pytest.mark.parametrize("name", [name for name in vars(losses) if name.endswith("EntropyLoss")])
def test_modules_work_with_their_defaults(name: str) -> None:
    # segmentation_models_pytorch's SoftCrossEntropyLoss() raises with its own default.
    assert getattr(losses, name)()(torch.zeros(2, 2), torch.tensor([0, 1])).item() > 0


def test_binary_label_smoothing_is_half_of_e_on_either_side() -> None:
    got = binary_cross_entropy_loss(tensor(logit(0.9)), tensor(1), label_smoothing=0.2)
    torch.testing.assert_close(got.item(), -0.9 * math.log(0.9) - 0.1 * math.log(0.1))


def test_pos_weight_follows_the_classes_last_or_broadcasts() -> None:
    logits = torch.zeros(1, 2, dtype=torch.float64)
    got = binary_cross_entropy_loss(logits, torch.tensor([1]), pos_weight=tensor(5, 3), reduction="none")
    torch.testing.assert_close(got, tensor(1, 3).view(1, 2) * HALF)
    image = torch.zeros(1, 2, 4, 4, dtype=torch.float64)
    weight = tensor(5, 3).view(2, 1, 1)
    got = binary_cross_entropy_loss(image, torch.ones_like(image), pos_weight=weight, reduction="none")
    torch.testing.assert_close(got[0, :, 0, 0], tensor(5, 3) * HALF)
    with pytest.raises(ValueError, match=r"pos_weight broadcastable to \(1, 2, 4, 4\), got \(2,\)"):
        binary_cross_entropy_loss(image, image, pos_weight=tensor(5, 3))


def test_poly1_adds_epsilon_times_the_probability_missed() -> None:
    got = poly1_cross_entropy_loss(*pixels(0.8), epsilon=-1)
    torch.testing.assert_close(got.item(), -math.log(0.8) - 0.2)


# Quality


def test_quality_focal_rests_at_its_target_and_varifocal_does_not() -> None:
    logits = tensor(logit(0.3)).requires_grad_()
    assert quality_focal_loss(logits, tensor(0.3)).item() == pytest.approx(0, abs=1e-30)
    assert slope(quality_focal_loss(logits, tensor(0.3)), logits).item() == pytest.approx(0, abs=1e-14)
    entropy = -0.3 * math.log(0.3) - 0.7 * math.log(0.7)
    assert varifocal_loss(logits, tensor(0.3)).item() == pytest.approx(0.3 * entropy)


def test_gradient_flows_through_the_modulator_unless_detached() -> None:
    """At p = 1/2 and t = 0: d/dx p² (-log(1 - p)) = 2 p · p q · log 2 + p² · p."""
    logits = tensor(0).requires_grad_()
    whole, weight_fixed = 0.25 * HALF + 0.125, 0.125
    zero = tensor(0)
    assert slope(quality_focal_loss(logits, zero), logits).item() == pytest.approx(whole)
    assert slope(varifocal_loss(logits, zero, alpha=None), logits).item() == pytest.approx(whole)
    # RT-DETR's varifocal loss detaches p; mmdetection's and Ultralytics' do not.
    assert slope(varifocal_loss(logits, zero, alpha=None, detach=True), logits).item() == pytest.approx(weight_fixed)
    only_focus = {"gamma_negative": 2, "clip": None}
    assert slope(asymmetric_loss(logits, zero, **only_focus), logits).item() == pytest.approx(whole)
    assert slope(asymmetric_loss(logits, zero, **only_focus, detach=True), logits).item() == pytest.approx(weight_fixed)


def test_a_matched_box_of_score_zero_is_a_negative_or_nothing() -> None:
    logits, label, score = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([0]), tensor(0)
    negative = 0.75 * 0.25 * HALF
    got = varifocal_loss(logits, label, scores=score, reduction="none")
    torch.testing.assert_close(got, tensor(negative, negative).view(1, 2))
    got = varifocal_loss(logits, label, scores=score, positives="labels", reduction="none")
    torch.testing.assert_close(got, tensor(0, negative).view(1, 2))
    with pytest.raises(ValueError, match="varifocal_loss: expected integer labels with positives='labels'"):
        varifocal_loss(logits, logits, positives="labels")


# Asymmetric


def test_asymmetric_drops_easy_negatives_and_bounds_hard_ones() -> None:
    got = asymmetric_loss(tensor(logit(0.04), 1e4), tensor(0, 0), reduction="none")
    torch.testing.assert_close(got, tensor(0, 0.95**4 * -math.log(0.05)))


@pytest.mark.parametrize("grad", [True, False])
def test_detach_leaves_the_grad_mode_alone(grad: bool) -> None:
    # The authors' code turns gradients on when it is done, under no_grad too.
    with torch.set_grad_enabled(grad):
        loss = asymmetric_loss(torch.zeros(2, requires_grad=True), torch.ones(2), detach=True)
        assert torch.is_grad_enabled() is grad
    assert loss.requires_grad is grad
