"""Regression losses beside other libraries' own numbers."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from matchloss import losses

pytestmark = pytest.mark.parity
fvcore = pytest.importorskip("fvcore.nn")


def pairs() -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    predictions = 2 * torch.randn(50, 4, generator=rng)
    return predictions, predictions + torch.randn(50, 4, generator=rng)


def same_gradient(ours, theirs, at: Tensor) -> None:
    for loss in (ours, theirs):
        leaf = at.clone().requires_grad_()
        value = loss(leaf)
        (grad,) = torch.autograd.grad(value.sum(), leaf)
        if loss is ours:
            wanted, wanted_grad = value, grad
    assert_close(value, wanted, rtol=1e-6, atol=1e-6)
    assert_close(grad, wanted_grad, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_torch_l1_and_mse(reduction: str) -> None:
    x, t = pairs()
    same_gradient(
        lambda p: losses.l1_loss(p, t, reduction=reduction), lambda p: F.l1_loss(p, t, reduction=reduction), x
    )
    same_gradient(
        lambda p: losses.l2_loss(p, t, reduction=reduction), lambda p: F.mse_loss(p, t, reduction=reduction), x
    )


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("beta", [0.0, 1 / 9, 1.0, 2.5])
def test_smooth_l1_of_torch_and_fvcore(beta: float, reduction: str) -> None:
    x, t = pairs()

    def ours(p: Tensor) -> Tensor:
        return losses.smooth_l1_loss(p, t, beta=beta, reduction=reduction)

    same_gradient(ours, lambda p: F.smooth_l1_loss(p, t, beta=beta, reduction=reduction), x)
    same_gradient(ours, lambda p: fvcore.smooth_l1_loss(p, t, beta=beta, reduction=reduction), x)


@pytest.mark.parametrize("delta", [0.5, 1.0, 3.0])
def test_huber_of_torch(delta: float) -> None:
    x, t = pairs()
    same_gradient(
        lambda p: delta * losses.smooth_l1_loss(p, t, beta=delta), lambda p: F.huber_loss(p, t, delta=delta), x
    )


@pytest.mark.parametrize(("alpha", "gamma"), [(0.5, 1.5), (0.2, 1.0)])
def test_balanced_l1_of_mmdetection(alpha: float, gamma: float) -> None:
    """Its formula at beta 1, as published; the package does not install here."""
    x, t = pairs()
    b = math.exp(gamma / alpha) - 1

    def theirs(p: Tensor) -> Tensor:
        d = (p - t).abs()
        near = alpha / b * (b * d + 1) * torch.log(b * d + 1) - alpha * d
        return torch.where(d < 1, near, gamma * d + gamma / b - alpha).mean()

    same_gradient(lambda p: losses.balanced_l1_loss(p, t, alpha=alpha, gamma=gamma), theirs, x)


def test_distribution_focal_as_two_cross_entropies() -> None:
    """The form of mmdetection and Ultralytics, on targets that both accept; the latter averages the four sides."""
    rng = torch.Generator().manual_seed(1)
    logits, targets = 2 * torch.randn(6, 4, 16, generator=rng), 14.98 * torch.rand(6, 4, generator=rng)
    left = targets.long()

    def theirs(p: Tensor) -> Tensor:
        flat = p.flatten(0, 1)
        low = F.cross_entropy(flat, left.flatten(), reduction="none").view(6, 4) * (left + 1 - targets)
        high = F.cross_entropy(flat, left.flatten() + 1, reduction="none").view(6, 4) * (targets - left)
        return low + high

    def ours(p: Tensor) -> Tensor:
        return losses.distribution_focal_loss(p, targets, reduction="none")

    same_gradient(ours, theirs, logits)
    same_gradient(lambda p: ours(p).mean(-1), lambda p: theirs(p).mean(-1), logits)
