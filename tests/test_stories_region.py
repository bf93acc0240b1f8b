"""Region losses by hand, and the peers' defects that ours must not have."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from inputs import class_distributions, class_logits, generator
from matchloss import losses

SURE = 50.0


def sure(labels: Tensor, classes: int) -> Tensor:
    """Logits of somebody who is certain of these labels."""
    return SURE * (labels.unsqueeze(1) == torch.arange(classes).view(1, -1, *[1] * (labels.ndim - 1))).float()


ONE_ROW = torch.tensor([[0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("predicted", "dice", "jaccard"),
    [
        ([[0, 0, 0, 1]], [0, 0], [0, 0]),  # right
        ([[0, 0, 1, 1]], [1 / 5, 1 / 3], [1 / 3, 1 / 2]),  # one pixel too many: 2 * 2 / 5, 2 * 1 / 3
        ([[1, 1, 1, 0]], [1, 1], [1, 1]),  # all wrong
        ([[0, 0, 0, 0]], [1 / 7, 1], [1 / 4, 1]),  # the small class missed
    ],
)
def test_hard_predictions_give_the_metric(predicted, dice, jaccard) -> None:
    logits = sure(torch.tensor(predicted), 2)
    for loss, wanted in ((losses.softmax_dice_loss, dice), (losses.softmax_jaccard_loss, jaccard)):
        got = loss(logits, ONE_ROW, reduction="none")
        torch.testing.assert_close(got, torch.tensor([wanted], dtype=torch.float32), atol=1e-6, rtol=0)


def test_tversky_weighs_false_alarms_by_alpha_and_misses_by_beta() -> None:
    false_alarm, miss = sure(torch.tensor([[0, 0, 1, 1]]), 2), sure(torch.tensor([[0, 0, 0, 0]]), 2)
    loss = losses.SoftmaxTverskyLoss(alpha=0.2, beta=0.8, class_weights=[0.0, 1.0])
    assert loss(false_alarm, ONE_ROW).item() == pytest.approx(1 - 1 / 1.2)
    assert loss(miss, ONE_ROW).item() == pytest.approx(1)
    half = losses.softmax_tversky_loss(false_alarm, ONE_ROW, alpha=0.5, beta=0.5)
    assert half.item() == pytest.approx(losses.softmax_dice_loss(false_alarm, ONE_ROW).item())
    one = losses.softmax_tversky_loss(false_alarm, ONE_ROW, alpha=1, beta=1)
    assert one.item() == pytest.approx(losses.softmax_jaccard_loss(false_alarm, ONE_ROW).item())


@given(st.integers(0, 10_000), st.floats(-6, 6))
@settings(max_examples=40, deadline=None)
def test_jaccard_is_a_function_of_dice(seed: int, scale: float) -> None:
    """J = D / (2 - D) as scores, so as losses j = 2 d / (1 + d)."""
    rng = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(2, 3, 11, generator=rng, dtype=torch.float64)
    labels = torch.randint(0, 3, (2, 11), generator=rng)
    dice = losses.softmax_dice_loss(logits, labels, reduction="none")
    jaccard = losses.softmax_jaccard_loss(logits, labels, reduction="none")
    torch.testing.assert_close(jaccard, 2 * dice / (1 + dice))
    assert ((dice >= 0) & (dice <= 1)).all()


def test_empty_policies_of_an_absent_class() -> None:
    """Labels know class 0 alone; the prediction gives class 1 a quarter of the mass of four pixels."""
    logits = torch.tensor([[0.75, 0.25]]).log().unsqueeze(2).expand(1, 2, 4)
    labels = torch.zeros(1, 4, dtype=torch.long)
    first = 1 - 2 * 3 / (3 + 4)
    each = {"skip": (first, 0.0), "penalize": (first, 0.25), "keep": (first, 1.0), "zero": (first, 0.0)}
    mean = {"skip": first, "penalize": (first + 0.25) / 2, "keep": (first + 1) / 2, "zero": first / 2}
    for empty, wanted in each.items():
        got = losses.softmax_dice_loss(logits, labels, empty=empty, reduction="none")
        torch.testing.assert_close(got, torch.tensor([wanted]))
        assert losses.softmax_dice_loss(logits, labels, empty=empty).item() == pytest.approx(mean[empty])


def test_false_alarms_on_an_empty_image_cost_and_can_be_unlearned() -> None:
    """MONAI's value is about 1 for any p above 1e-5 there: a cliff with no slope to walk down."""
    logits = torch.full((1, 1, 8, 8), -2.0, requires_grad=True)
    value = losses.sigmoid_dice_loss(logits, torch.zeros(1, 1, 8, 8))
    assert value.item() == pytest.approx(1 / (1 + math.exp(2)))
    (grad,) = torch.autograd.grad(value, logits)
    assert (grad > 1e-4).all()
    nothing = losses.sigmoid_dice_loss(torch.full((1, 1, 8, 8), -SURE), torch.zeros(1, 1, 8, 8))
    assert nothing.item() == pytest.approx(0, abs=1e-6)


def test_per_image_does_not_depend_on_the_batch_and_pooled_does() -> None:
    """segmentation_models_pytorch pools the batch without an option."""
    inputs = class_logits(2)
    alone = [losses.softmax_dice_loss(inputs.predictions[i : i + 1], inputs.targets[i : i + 1]) for i in range(2)]
    both = losses.softmax_dice_loss(inputs.predictions, inputs.targets)
    assert both.item() == pytest.approx(sum(value.item() for value in alone) / 2)
    pooled = losses.softmax_dice_loss(inputs.predictions, inputs.targets, per_image=False)
    assert pooled.item() != pytest.approx(both.item())
    as_one = inputs.predictions.movedim(1, 0).flatten(1).unsqueeze(0), inputs.targets.flatten().unsqueeze(0)
    assert pooled.item() == pytest.approx(losses.softmax_dice_loss(*as_one).item())


def test_smooth_is_on_the_scale_of_dice() -> None:
    """segmentation_models_pytorch's smooth=1 acts as 2 since it moved to the Tversky form: 0.9048, not 0.8750."""
    logits = torch.zeros(1, 1, 4)
    targets = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])
    assert losses.sigmoid_dice_loss(logits, targets, smooth=1.0).item() == pytest.approx(1 - (2 * 0.5 + 1) / (3 + 1))
    tversky = losses.sigmoid_tversky_loss(logits, targets, alpha=0.5, beta=0.5, smooth=0.5)
    assert tversky.item() == pytest.approx(losses.sigmoid_dice_loss(logits, targets, smooth=1.0).item())


def test_logits_under_ignore_have_no_influence() -> None:
    """mmsegmentation drops the class whose index equals ignore_index and keeps the ignored pixels as false alarms."""
    inputs = class_logits(2)
    ignored = (inputs.targets == -100).unsqueeze(1)
    for loss in (losses.softmax_dice_loss, losses.softmax_tversky_loss, losses.softmax_generalized_dice_loss):
        wanted = loss(inputs.predictions, inputs.targets)
        for change in (100.0, -100.0):
            got = loss(inputs.predictions + change * ignored * torch.randn(4).view(1, 4, 1, 1), inputs.targets)
            assert got.item() == pytest.approx(wanted.item(), abs=1e-12)
    with_class_0 = losses.softmax_dice_loss(inputs.predictions, inputs.targets.where(inputs.targets >= 0, 0))
    assert with_class_0.item() != pytest.approx(losses.softmax_dice_loss(inputs.predictions, inputs.targets).item())


def test_transposed_target_is_an_error_not_a_silent_reshape() -> None:
    """segmentation_models_pytorch accepts (2, 1, 4, 8) with (2, 8, 4)."""
    with pytest.raises(ValueError, match=r"\(2, 1, 4, 8\).*\(2, 8, 4\)"):
        losses.sigmoid_dice_loss(torch.zeros(2, 1, 4, 8), torch.zeros(2, 8, 4))
    with pytest.raises(ValueError, match="at least 2 class channels, got 1; for one use a sigmoid loss"):
        losses.softmax_dice_loss(torch.zeros(2, 1, 4, 8), torch.zeros(2, 4, 8, dtype=torch.long))


def test_perfect_prediction_has_a_finite_gradient_in_every_power() -> None:
    """segmentation_models_pytorch's focal Tversky with an exponent below 1 is NaN there."""
    for gamma in (0.75, 4 / 3, 4.0):
        logits = sure(ONE_ROW, 2).requires_grad_()
        value = losses.softmax_focal_tversky_loss(logits, ONE_ROW, gamma=gamma)
        (grad,) = torch.autograd.grad(value, logits)
        assert value.item() < 0.02
        assert grad.isfinite().all()


def test_any_tversky_weights_are_allowed() -> None:
    """mmsegmentation asserts alpha + beta == 1."""
    inputs = class_logits(2)
    assert losses.softmax_tversky_loss(inputs.predictions, inputs.targets, alpha=2.0, beta=5.0).isfinite()
    with pytest.raises(ValueError, match="beta >= 0, got -1"):
        losses.softmax_tversky_loss(inputs.predictions, inputs.targets, beta=-1.0)


def test_only_the_min_form_is_least_at_soft_targets() -> None:
    inputs = class_distributions(2)
    exact = inputs.targets.log()
    assert losses.softmax_dice_loss(exact, inputs.targets, form="min").item() == pytest.approx(0, abs=1e-12)
    sharper = 3 * exact
    assert losses.softmax_dice_loss(sharper, inputs.targets) < losses.softmax_dice_loss(exact, inputs.targets)
    least = losses.softmax_dice_loss(sharper, inputs.targets, form="min")
    assert least > losses.softmax_dice_loss(exact, inputs.targets, form="min")


def test_generalized_dice_weighs_a_small_class_as_much_as_a_large_one() -> None:
    labels = torch.zeros(1, 100, dtype=torch.long)
    labels[0, :4] = 1
    missed = torch.zeros_like(labels)
    # w = 1/96² and 1/4²: above 2 * 96/96², below (100 + 96)/96² + 4/4².
    wanted = 1 - (2 * 96 / 96**2) / (196 / 96**2 + 4 / 16)
    assert losses.softmax_generalized_dice_loss(sure(missed, 2), labels).item() == pytest.approx(wanted)
    uniform = losses.softmax_generalized_dice_loss(sure(missed, 2), labels, weighting="uniform")
    assert uniform.item() == pytest.approx(0.04)


def test_a_running_sum_of_a_large_image_keeps_its_digits() -> None:
    """Four million pixels: a float32 scatter of ones would stall long before 2^24 and drift before."""
    labels = torch.zeros(1, 2048, 2048, dtype=torch.long)
    labels[0, :1024] = 1
    logits = torch.zeros(1, 2, 2048, 2048)
    assert losses.softmax_dice_loss(logits, labels).item() == pytest.approx(0.5, abs=1e-7)
    logits[:, 1] = 0.3
    got = losses.softmax_dice_loss(logits, labels).item()
    p = 1 / (1 + math.exp(-0.3))
    assert got == pytest.approx(((1 - 2 * p / 2 / (p + 0.5)) + (1 - 2 * (1 - p) / 2 / (1 - p + 0.5))) / 2, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_labels_of_any_integer_dtype(dtype: torch.dtype) -> None:
    """Of uint8 labels, torch compares -100 as 156: class 156 would be ignored in silence."""
    logits = torch.randn(1, 200, 6, generator=generator(0), dtype=torch.float64)
    labels = torch.tensor([[0, 156, 156, 3, 99, 156]])
    for loss in (losses.softmax_dice_loss, losses.cross_entropy_loss, losses.softmax_focal_loss):
        assert loss(logits, labels.to(dtype)).item() == loss(logits, labels).item()
    rows = logits.movedim(1, 2)
    assert losses.sigmoid_focal_loss(rows, labels.to(dtype)).item() == losses.sigmoid_focal_loss(rows, labels).item()


def test_bool_labels_are_two_classes() -> None:
    logits = torch.randn(2, 2, 6, generator=generator(0))
    labels = torch.rand(2, 6, generator=generator(1)) < 0.5
    assert losses.softmax_dice_loss(logits, labels) == losses.softmax_dice_loss(logits, labels.long())
