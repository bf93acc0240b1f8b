"""The balanced L1 loss with its slope written down against the plain form, and what chooses between the two."""

import pytest
import torch
from torch import Tensor

import matchloss
from inputs import generator
from matchloss.losses import balanced_l1, balanced_l1_loss

OPTIONS = [{}, {"alpha": 0.2, "gamma": 1.0}, {"beta": 0.25}, {"alpha": 2.0, "gamma": 0.5, "beta": 4.0}]
over_options = pytest.mark.parametrize("options", OPTIONS, ids=str)


def distances(dtype: torch.dtype = torch.float32) -> Tensor:
    """Near, on the bend for each beta, far, at the target, and what is not finite."""
    special = torch.tensor([0.0, -0.0, 0.25, -1, 1, 4, -4, 1e-20, 1e20, float("inf"), -float("inf")])
    return torch.cat(
        [special, torch.randn(500, generator=generator(0)), 9 * torch.randn(500, generator=generator(1))]
    ).to(dtype)


def both_forms(x: Tensor, make) -> list[Tensor]:
    """What ``make`` makes of predictions x, with the written slope and without."""
    with matchloss.reference():
        wanted = make(x.clone().requires_grad_())
    return [make(x.clone().requires_grad_()), wanted]


@over_options
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_value_and_slope(options, dtype: torch.dtype) -> None:
    x = distances(dtype)
    weights = torch.rand(len(x), generator=generator(1))

    def value(x: Tensor) -> Tensor:
        return balanced_l1_loss(x, torch.zeros_like(x), weights=weights, reduction="none", **options)

    def slope(x: Tensor) -> Tensor:
        return torch.autograd.grad(value(x).sum(), x)[0]

    rtol = 1e-12 if dtype == torch.float64 else 1e-6
    for make in (value, slope):
        torch.testing.assert_close(*both_forms(x, make), rtol=max(rtol, 2e-2 * (dtype == torch.bfloat16)), atol=rtol)


def test_nan_stays_nan() -> None:
    x = torch.tensor([1.0, float("nan")], requires_grad=True)
    value = balanced_l1_loss(x, torch.zeros(2), reduction="none")
    (slope,) = torch.autograd.grad(value.sum(), x)
    assert value.isnan().tolist() == slope.isnan().tolist() == [False, True]


def test_targets_have_the_opposite_slope() -> None:
    x, t = torch.randn(2, 50, generator=generator(2)).requires_grad_()
    of_x, of_t = torch.autograd.grad(balanced_l1_loss(x, t), (x, t))
    assert of_x.any()
    assert torch.equal(of_t, -of_x)


def test_a_second_backward_gives_the_same() -> None:
    x = distances()[:5].requires_grad_()
    loss = balanced_l1_loss(x, torch.zeros(5))
    first, second = (torch.autograd.grad(loss, x, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


@over_options
def test_second_derivatives_are_those_of_the_plain_form(options) -> None:
    def second(x: Tensor) -> Tensor:
        (slope,) = torch.autograd.grad(balanced_l1_loss(x, torch.zeros(50), **options), x, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), x)[0]

    got, wanted = both_forms(torch.randn(50, generator=generator(3)), second)
    assert wanted.any()
    torch.testing.assert_close(got, wanted)


def test_the_written_slope_is_taken_where_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    spy = lambda *given: calls.append(given) or balanced_l1._balanced_l1(*given)  # noqa: E731
    monkeypatch.setattr(balanced_l1._BalancedL1, "apply", spy)
    x = torch.randn(5)
    balanced_l1_loss(x, x)
    assert len(calls) == 1
    calls.clear()
    with matchloss.reference():
        balanced_l1_loss(x, x)
    torch.func.grad(balanced_l1_loss)(x, x)
    torch.compile(balanced_l1_loss, fullgraph=True, backend="eager")(x, x)
    assert not calls
