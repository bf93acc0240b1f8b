"""Regression losses on cases one can do in the head, and on those where other libraries went wrong."""

import math

import pytest
import torch
from torch.testing import assert_close

from by_hand import HALF, slope, tensor
from matchloss.losses import (
    balanced_l1_loss,
    distribution_focal_loss,
    l1_loss,
    l2_loss,
    smooth_l1_loss,
)

# L2 and smooth L1


def test_l2_has_no_half() -> None:
    assert l2_loss(tensor(3, -2), tensor(0, 0)).item() == (9 + 4) / 2


def test_smooth_l1_is_a_parabola_then_a_line() -> None:
    got = smooth_l1_loss(tensor(0, 1, 2, 3, -3), tensor(0, 0, 0, 0, 0), beta=2.0, reduction="none")
    assert_close(got, tensor(0, 0.25, 1, 2, 2))


def test_smooth_l1_slopes() -> None:
    x = tensor(-5, -1, 0, 0.5, 2, 7).requires_grad_()
    assert_close(
        slope(smooth_l1_loss(x, torch.zeros(6), beta=2.0, reduction="sum"), x), tensor(-1, -0.5, 0, 0.25, 1, 1)
    )


def test_smooth_l1_without_beta_is_exactly_l1() -> None:
    # A quotient by beta = 0 behind torch.where would be the same value with a gradient of NaN.
    x = tensor(-5, -1e-300, 0, 1e-300, 2).requires_grad_()
    zeros = torch.zeros(5, dtype=torch.float64)
    assert torch.equal(smooth_l1_loss(x, zeros, beta=0, reduction="none"), l1_loss(x, zeros, reduction="none"))
    got = slope(smooth_l1_loss(x, zeros, beta=0, reduction="sum"), x)
    assert torch.equal(got, tensor(-1, -1, 0, 1, 1))


@pytest.mark.parametrize("beta", [1e-4, 1e-6, 1e-30, 1e-37])
def test_smooth_l1_with_a_tiny_beta_keeps_its_gradient(beta: float) -> None:
    # fvcore turns to L1 below 1e-5, since d² / beta overflows in the branch that torch.where does not take.
    x = torch.tensor([0.0, beta / 2, beta, 1.0, 1e30]).requires_grad_()
    got = slope(smooth_l1_loss(x, torch.zeros(5), beta=beta, reduction="sum"), x)
    assert got[0] == 0
    assert_close(got[1:], torch.tensor([0.5, 1, 1, 1]))


def test_huber_is_delta_times_smooth_l1() -> None:
    """With δ = 2: d²/2 up to 2, then 2 (d - 1)."""
    got = 2 * smooth_l1_loss(tensor(1, 2, 5), tensor(0, 0, 0), beta=2.0, reduction="none")
    assert_close(got, tensor(0.5, 2, 8))


# Balanced L1


@pytest.mark.parametrize("beta", [0.25, 1.0, 4.0])
def test_balanced_l1_is_smooth_where_the_curve_meets_the_line(beta: float) -> None:
    x = torch.tensor([1 - 1e-9, 1 + 1e-9], dtype=torch.float64).mul(beta).requires_grad_()
    loss = balanced_l1_loss(x, torch.zeros(2), beta=beta, reduction="none")
    assert_close(loss[0], loss[1], rtol=1e-7, atol=0)
    assert_close(slope(loss.sum(), x), tensor(1.5, 1.5), rtol=1e-6, atol=0)


@pytest.mark.parametrize("beta", [0.25, 1.0, 4.0])
def test_balanced_l1_has_its_minimum_at_the_target(beta: float) -> None:
    # mmdetection divides by beta in one place only: for beta = 4 its loss falls with a slope of α/4 - α from there.
    x = torch.tensor([1e-6, 1e-3], dtype=torch.float64).mul(beta).requires_grad_()
    loss = balanced_l1_loss(x, torch.zeros(2), beta=beta, reduction="none")
    b = math.exp(3) - 1
    assert (loss > 0).all()
    assert_close(slope(loss.sum(), x), tensor(0.5 * math.log1p(b * 1e-6), 0.5 * math.log1p(b * 1e-3)))
    zero = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    assert slope(balanced_l1_loss(zero, torch.zeros(1), beta=beta), zero) == 0


def test_balanced_l1_lifts_the_near_ones() -> None:
    """At a tenth of the way to the line: 0.5 log(1 + 1.9) = 0.53 of a slope of 1.5, where smooth L1 has 0.1 of 1."""
    x = tensor(0.1).requires_grad_()
    assert_close(slope(balanced_l1_loss(x, tensor(0)), x).item(), 0.5 * math.log(1 + 0.1 * (math.exp(3) - 1)))


@pytest.mark.parametrize(("options", "said"), [({"alpha": 0.0}, "alpha > 0"), ({"beta": 0.0}, "beta > 0"),
                                               ({"gamma": -1.0}, "gamma > 0"), ({"alpha": 0.01}, "<= 80")])  # fmt: skip
def test_balanced_l1_rejects_options_without_meaning(options: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=f"balanced_l1_loss: expected .*{said}"):
        balanced_l1_loss(tensor(1), tensor(0), **options)


def test_a_negative_beta_is_an_error() -> None:
    with pytest.raises(ValueError, match="smooth_l1_loss: expected beta >= 0, got -1"):
        smooth_l1_loss(tensor(1), tensor(0), beta=-1)


@pytest.mark.parametrize("loss", [l1_loss, l2_loss, smooth_l1_loss, balanced_l1_loss], ids=lambda loss: loss.__name__)
def test_masked_nan_reaches_no_slope_of_the_targets_either(loss) -> None:
    x, t = tensor(1, 2, math.nan).requires_grad_(), tensor(3, math.nan, 1).requires_grad_()
    of_x, of_t = torch.autograd.grad(loss(x, t, mask=torch.tensor([True, False, False])), (x, t))
    assert of_t[0] == -of_x[0] > 0
    assert of_x[1:].tolist() == of_t[1:].tolist() == [0, 0]


# Distribution focal


def test_dfl_splits_between_neighbours() -> None:
    """t = 2.25 trains bin 2 with 3/4 and bin 3 with 1/4; p = (.., 1/2, 1/4, ..)."""
    probs = tensor(0.125, 0.125, 0.5, 0.25)
    got = distribution_focal_loss(probs.log(), torch.tensor(2.25, dtype=torch.float64))
    assert_close(got.item(), 0.75 * HALF + 0.25 * 2 * HALF)


def test_dfl_is_least_at_the_target_s_own_split() -> None:
    logits = tensor(-80, math.log(0.7), math.log(0.3), -80).requires_grad_()
    loss = distribution_focal_loss(logits, torch.tensor(1.3, dtype=torch.float64))
    assert_close(loss.item(), -(0.7 * math.log(0.7) + 0.3 * math.log(0.3)))
    assert_close(slope(loss, logits), torch.zeros(4, dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize("target", [3.0, 3.0001, 4.0, 1e30, math.inf])
def test_dfl_at_or_beyond_the_last_bin_trains_the_last_bin(target: float) -> None:
    # mmdetection raises an index error here.
    logits = tensor(0, 0, 0, 1).requires_grad_()
    loss = distribution_focal_loss(logits, torch.tensor(target))
    assert_close(loss, -logits.log_softmax(0)[3])
    assert slope(loss, logits)[3] < 0


@pytest.mark.parametrize("target", [0.0, -0.5, -math.inf])
def test_dfl_at_or_before_the_first_bin_trains_the_first_bin(target: float) -> None:
    logits = tensor(1, 0, 0)
    assert_close(distribution_focal_loss(logits, torch.tensor(target)), -logits.log_softmax(0)[0])


def test_dfl_leaves_the_targets_alone() -> None:
    # Ultralytics clamps in place: the caller's tensor is other afterwards.
    targets = tensor(-1, 0.5, 9)
    distribution_focal_loss(torch.zeros(3, 4, dtype=torch.float64), targets)
    assert torch.equal(targets, tensor(-1, 0.5, 9))


def test_dfl_has_one_loss_a_side() -> None:
    logits = torch.randn(2, 5, 4, 16, generator=torch.Generator().manual_seed(0))
    targets = 15 * torch.rand(2, 5, 4, generator=torch.Generator().manual_seed(1))
    sides = distribution_focal_loss(logits, targets, reduction="none")
    assert sides.shape == (2, 5, 4)
    assert_close(distribution_focal_loss(logits[1, 3, 2], targets[1, 3, 2]), sides[1, 3, 2])
    assert_close(distribution_focal_loss(logits, targets), sides.mean())


def test_dfl_of_a_nan_target_is_nan_and_masked_it_is_nothing() -> None:
    logits = torch.zeros(2, 4, requires_grad=True)
    targets = torch.tensor([1.0, math.nan])
    assert distribution_focal_loss(logits, targets).isnan()
    masked = distribution_focal_loss(logits, targets, mask=torch.tensor([True, False]))
    assert_close(masked.item(), 2 * HALF)
    assert torch.equal(slope(masked, logits)[1], torch.zeros(4))


def test_dfl_rejects_a_single_bin_and_targets_with_bins() -> None:
    with pytest.raises(ValueError, match=r"bins >= 2, got shape \(3, 1\)"):
        distribution_focal_loss(torch.zeros(3, 1), torch.zeros(3))
    with pytest.raises(ValueError, match=r"targets of shape \(3,\) \(logits without bins\), got \(3, 4\)"):
        distribution_focal_loss(torch.zeros(3, 4), torch.zeros(3, 4))
