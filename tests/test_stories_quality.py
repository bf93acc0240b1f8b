"""Losses of matched queries on cases one can do in the head, and on those that tell them apart."""

import math

import pytest
import torch

from by_hand import HALF, logit, slope, tensor
from matchloss.losses import (
    iou_aware_binary_cross_entropy_loss,
    matchability_aware_loss,
    quality_focal_loss,
    varifocal_loss,
)


def entropy(p: float, target: float) -> float:
    return -target * math.log(p) - (1 - target) * math.log(1 - p)


# Matchability-aware


def test_a_match_is_drawn_to_a_power_of_its_iou_and_a_negative_is_focused() -> None:
    logits = tensor(logit(0.9), logit(0.9))
    got = matchability_aware_loss(logits, tensor(0.25, 0), reduction="none")
    torch.testing.assert_close(got, tensor(entropy(0.9, 0.125), 0.9**1.5 * -math.log(0.1)))
    halved = matchability_aware_loss(logits, tensor(0.25, 0), alpha=0.5, reduction="none")
    torch.testing.assert_close(halved, got * tensor(1, 0.5))


@pytest.mark.parametrize("iou", [0.01, 0.1, 0.3])
def test_a_poor_match_pulls_with_full_weight_where_the_varifocal_loss_forgets_it(iou: float) -> None:
    logits, target = tensor(logit(0.9)).requires_grad_(), tensor(iou)
    pull = slope(matchability_aware_loss(logits, target), logits).item()
    assert pull == pytest.approx(0.9 - iou**1.5)
    assert slope(varifocal_loss(logits, target), logits).item() == pytest.approx(iou * (0.9 - iou))


def test_a_match_of_iou_zero_is_a_match_beside_labels() -> None:
    """Pushed to 0 with weight 1, and not with the weight p^γ of a negative."""
    logits, label, score = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([0]), tensor(0)
    got = matchability_aware_loss(logits, label, scores=score, reduction="none")
    torch.testing.assert_close(got, tensor(1, 0.5**1.5).view(1, 2) * HALF)
    got = iou_aware_binary_cross_entropy_loss(logits, label, scores=score, reduction="none")
    torch.testing.assert_close(got, tensor(1, 0.25).view(1, 2) * HALF)  # at p = 1/2 every target costs log 2


def test_the_weight_of_a_negative_has_a_gradient_only_if_asked_for() -> None:
    """At p = 1/2: d/dx p^γ (-log(1 - p)) = γ p^γ q log 2 + p^γ p."""
    logits, zero = tensor(0).requires_grad_(), tensor(0)
    fixed = slope(matchability_aware_loss(logits, zero, gamma=2), logits).item()
    whole = slope(matchability_aware_loss(logits, zero, gamma=2, detach=False), logits).item()
    assert fixed == pytest.approx(0.125)
    assert whole == pytest.approx(0.125 + 0.25 * HALF)
    # The IoU-aware loss has it, as in its authors' code; its target never has.
    assert slope(iou_aware_binary_cross_entropy_loss(logits, zero), logits).item() == pytest.approx(whole)


# IoU-aware binary cross entropy


def test_the_target_lies_between_the_probability_and_the_iou() -> None:
    p, iou = 0.2, 0.8
    target = p**0.25 * iou**0.75
    got = iou_aware_binary_cross_entropy_loss(tensor(logit(p)), tensor(iou))
    assert got.item() == pytest.approx(entropy(p, target))
    logits = tensor(logit(p)).requires_grad_()
    assert slope(iou_aware_binary_cross_entropy_loss(logits, tensor(iou)), logits).item() == pytest.approx(p - target)


def test_alpha_one_leaves_a_match_at_rest_and_alpha_zero_asks_for_the_iou() -> None:
    logits = tensor(logit(0.3)).requires_grad_()
    alone = slope(iou_aware_binary_cross_entropy_loss(logits, tensor(0.8), alpha=1), logits)
    assert alone.item() == pytest.approx(0, abs=1e-12)
    asked = slope(iou_aware_binary_cross_entropy_loss(logits, tensor(0.8), alpha=0), logits)
    assert asked.item() == pytest.approx(0.3 - 0.8)
    at_rest = slope(iou_aware_binary_cross_entropy_loss(logits, tensor(0.3)), logits)
    assert at_rest.item() == pytest.approx(0, abs=1e-12)  # p = q: both say the same


def test_the_floor_keeps_an_object_that_no_box_fits() -> None:
    logits = tensor(logit(1e-4)).requires_grad_()
    label, score = torch.tensor(0), torch.tensor(0.0, dtype=torch.float64)
    kept = slope(iou_aware_binary_cross_entropy_loss(logits, label, scores=score), logits)
    assert kept.item() == pytest.approx(1e-4 - 0.01)  # pushed up
    given_up = slope(iou_aware_binary_cross_entropy_loss(logits, label, scores=score, floor=0), logits)
    assert given_up.item() == pytest.approx(1e-4)


def test_saturated_logits_have_a_loss_where_the_log_of_a_rounded_probability_is_infinite() -> None:
    # transformers' LW-DETR takes log(p) and log(1 - p) of a probability that is 0 or 1 in float32.
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    high, low = (
        iou_aware_binary_cross_entropy_loss(logits, torch.tensor([label]), scores=torch.tensor([0.0]), reduction="none")
        for label in (0, 1)
    )
    # A match has the floor for its target, a negative its own logit for its loss.
    torch.testing.assert_close(high, torch.tensor([[0.99 * 200, 0.0]]))
    torch.testing.assert_close(low, torch.tensor([[200.0, 0.01 * 200]]))
    assert slope((high + low).sum(), logits).isfinite().all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: matchability_aware_loss(x, x, gamma=0), "matchability_aware_loss: expected gamma > 0, got 0"),
        (lambda x: matchability_aware_loss(x, x, alpha=-1), "matchability_aware_loss: expected alpha >= 0, got -1"),
        (lambda x: iou_aware_binary_cross_entropy_loss(x, x, alpha=2), r"expected alpha in \[0, 1\], got 2"),
        (lambda x: iou_aware_binary_cross_entropy_loss(x, x, floor=-1), r"expected floor in \[0, 1\], got -1"),
        (lambda x: iou_aware_binary_cross_entropy_loss(x, x, gamma=-1), "expected gamma >= 0, got -1"),
    ],
)
def test_impossible_options_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(torch.zeros(3))


def test_four_losses_of_a_perfect_match_and_of_a_poor_one() -> None:
    perfect, poor = tensor(1), tensor(0.2)
    logits = tensor(logit(0.7))
    losses = (
        matchability_aware_loss,
        iou_aware_binary_cross_entropy_loss,
        varifocal_loss,
        lambda x, t: quality_focal_loss(x, t, beta=0),
    )
    sure = [loss(logits, perfect).item() for loss in losses]
    target = 0.7**0.25
    assert sure == pytest.approx([-math.log(0.7), entropy(0.7, target), -math.log(0.7), -math.log(0.7)])
    unsure = [loss(logits, poor).item() for loss in losses]
    assert len({round(value, 6) for value in unsure}) == 4
