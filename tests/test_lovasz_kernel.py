"""The CPU kernel of the Lovász extension against the plain form: slopes to the last bit, losses, and who takes it."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

import matchloss
from inputs import generator
from matchloss.losses import lovasz_hinge_loss, lovasz_softmax_loss
from matchloss.losses._lovasz import jaccard_weights

pytest.importorskip("numba")

from matchloss.kernels import lovasz_cpu
from matchloss.kernels.lovasz_cpu import weigh_rows

Call = Callable[[Tensor], Tensor]
LABELS = torch.randint(0, 5, (4, 90), generator=generator(0))
CALLS: dict[str, Call] = {
    "softmax": lambda x: lovasz_softmax_loss(x, torch.where(LABELS == 3, -100, LABELS)),
    "per image": lambda x: lovasz_softmax_loss(x, LABELS, per_image=True, classes="all"),
    "hinge": lambda x: lovasz_hinge_loss(x[:, 0], (LABELS > 2).long()),
    "hinge per image": lambda x: lovasz_hinge_loss(x[:, 0], (LABELS > 2).long(), per_image=True, mask=LABELS != 4),
}
over_calls = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def plain_rows(values: Tensor, labels: Tensor, groups: int, *, probs: bool) -> tuple[Tensor, Tensor]:
    """By the batched sort, in the layout of the kernel."""
    images, classes, pixels = values.shape

    def rows(x: Tensor) -> Tensor:
        return x.view(groups, images // groups, classes, pixels).transpose(1, 2).reshape(groups, classes, -1)

    foreground = rows((labels[:, None] == torch.arange(classes)[:, None]).contiguous())
    valid = rows((labels >= 0)[:, None].expand(values.shape).contiguous())
    errors = torch.where(foreground, 1 - rows(values), rows(values)) if probs else rows(values)
    weights = jaccard_weights(errors, foreground, valid)
    losses = (errors * weights).double().sum(-1).float()
    slopes = torch.where(foreground, -weights, weights) if probs else torch.where(errors > 0, weights, 0.0)
    return losses, slopes.view(groups, classes, -1, pixels).transpose(1, 2).reshape(values.shape)


def check(values: Tensor, labels: Tensor, groups: int, *, probs: bool = True) -> None:
    losses, slopes = weigh_rows(values, labels, groups, probs=probs)
    wanted, wanted_slopes = plain_rows(values, labels, groups, probs=probs)
    assert torch.equal(slopes, wanted_slopes)
    assert_close(losses, wanted, rtol=1e-6, atol=1e-7)


def some_labels(images: int, classes: int, pixels: int, seed: int) -> Tensor:
    labels = torch.randint(-1, classes, (images, pixels), generator=generator(seed)).int()
    labels[:, 0] = 0  # where nothing counts the plain form has a weight of no use
    return labels


@pytest.mark.parametrize("steps", [None, 2, 50], ids=["smooth", "few values", "ties"])
@pytest.mark.parametrize("margin", [0, 2, 6, 40], ids=lambda margin: f"margin {margin}")
def test_slopes_of_probabilities_are_those_of_the_plain_form(margin: int, steps: int | None) -> None:
    """From guesses, of which most weigh nothing, to certainty, with all errors at 0 and 1."""
    shapes = ((1, 2, 7, 1), (2, 5, 400, 1), (4, 3, 111, 2), (3, 4, 64, 3))
    for seed, (images, classes, pixels, groups) in enumerate(shapes):
        labels = some_labels(images, classes, pixels, seed)
        logits = torch.randn(images, classes, pixels, generator=generator(seed))
        logits += margin * F.one_hot(labels.clamp(min=0).long(), classes).transpose(1, 2)
        logits[0, :, ::9] = logits[0, :, ::9].flip(1)  # some are wrong
        probs = logits.softmax(1)
        check(probs if steps is None else (probs * steps).round() / steps, labels, groups)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_slopes_of_errors_are_those_of_the_plain_form(scale: float) -> None:
    for seed, steps in enumerate((2, 3, 1000)):
        labels = some_labels(5, 1, 300, seed)
        labels[1] = labels[1].clamp(max=-1)
        labels[1, 7] = 0
        errors = scale * torch.randn(5, 1, 300, generator=generator(seed)).mul(steps).round().div(steps).relu()
        check(errors, labels, 5, probs=False)
        check(errors, labels, 1, probs=False)


def test_errors_one_unit_in_the_last_place_apart_or_all_equal() -> None:
    """A network's first step: all probabilities are about 1 / C. Beside them, one far away."""
    for far in (1 / 3, 0.0, 1e-40, 0.9):
        bits = torch.tensor(1 / 3).view(torch.int32) + torch.randint(0, 5, (1, 3, 200), generator=generator(1)).int()
        probs = bits.view(torch.float32)
        probs[0, 1, 50] = far
        check(probs, some_labels(1, 3, 200, 2), 1)
        errors = bits[:, :1].view(torch.float32)  # their bits differ in three places at most
        check(errors, some_labels(1, 1, 200, 2), 1, probs=False)
    check(torch.full((2, 2, 50), 0.5), some_labels(2, 2, 50, 3), 1)


def test_absent_classes_full_ones_and_rows_of_one_pixel() -> None:
    probs = torch.rand(2, 3, 40, generator=generator(4))
    probs[0, 2, 5] = probs[0, 2, 9] = probs[1, 2].max() + 1e-3  # an absent class costs the first of its largest
    check(probs, torch.zeros(2, 40, dtype=torch.int32), 1)
    check(probs, torch.zeros(2, 40, dtype=torch.int32), 2)
    check(probs[:, :, :1].contiguous(), torch.tensor([[1], [0]], dtype=torch.int32), 2)


def test_where_nothing_counts_nothing_weighs() -> None:
    for probs in (True, False):
        losses, slopes = weigh_rows(torch.rand(2, 3, 20), torch.full((2, 20), -1, dtype=torch.int32), 2, probs=probs)
        assert not losses.any()
        assert not slopes.any()
    for images, pixels, groups in ((0, 5, 0), (0, 5, 1), (2, 0, 2), (2, 0, 1)):
        empty, labels = torch.zeros(images, 3, pixels), torch.zeros(images, pixels, dtype=torch.int32)
        losses, slopes = weigh_rows(empty, labels, groups, probs=True)
        assert losses.tolist() == [[0.0] * 3] * groups
        assert slopes.shape == empty.shape


@pytest.mark.parametrize("share", [1e-5, 0.5])
def test_weights_keep_their_digits_on_large_images(share: float) -> None:
    """Two million pixels, more than two digits of the sort, against float64."""
    size = 2**21
    errors = 1e-3 + torch.rand(1, 1, size, generator=generator(5))
    foreground = torch.rand(1, size, generator=generator(6)) < share
    _, weights = weigh_rows(errors, (~foreground).int(), 1, probs=False)
    exact = jaccard_weights(errors[0].double(), foreground, None)
    assert_close(weights[0].double(), exact, rtol=1e-6, atol=0)


def test_threads_and_strides_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    probs, labels = torch.randn(4, 5, 90, generator=generator(7)).softmax(1), some_labels(4, 5, 90, 7)
    turned = probs.transpose(0, 2).contiguous().transpose(0, 2), labels.T.contiguous().T
    for groups in (1, 4):
        wanted = weigh_rows(probs, labels, groups, probs=True)
        with monkeypatch.context() as change:
            change.setattr(lovasz_cpu, "PIXELS_A_THREAD", 1)
            change.setattr(torch, "get_num_threads", lambda: 3)
            for inputs in ((probs, labels), turned):
                found = weigh_rows(*inputs, groups, probs=True)
                assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


def logits(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(4, 5, 90, generator=generator(8)).mul(3).to(dtype).requires_grad_()


def value_and_gradient(call: Call, x: Tensor) -> tuple[Tensor, Tensor]:
    value = call(x)
    return value.detach(), torch.autograd.grad(value, x)[0]


@over_calls
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_losses_and_gradients_are_those_of_the_plain_form(call: Call, dtype: torch.dtype) -> None:
    value, gradient = value_and_gradient(call, logits(dtype))
    with matchloss.reference():
        wanted, slope = value_and_gradient(call, logits(dtype))
    assert_close(value, wanted, rtol=1e-6, atol=0)
    assert_close(gradient, slope, rtol=1e-6, atol=1e-9)


@over_calls
def test_a_second_backward_and_a_second_derivative(call: Call) -> None:
    x = logits()
    value = call(x)
    first, again = (torch.autograd.grad(value, x, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, again)

    def curvature() -> Tensor:
        (slope,) = torch.autograd.grad(call(x), x, create_graph=True)
        turn = torch.rand(slope.shape, generator=generator(9))
        product = (slope * turn).sum()
        return torch.autograd.grad(product, x)[0] if product.requires_grad else torch.zeros_like(x)

    found = curvature()
    with matchloss.reference():
        assert_close(found, curvature(), rtol=1e-5, atol=1e-8)


@over_calls
def test_a_nan_stays_to_be_seen_unless_it_is_masked(call: Call) -> None:
    broken = logits().detach()
    broken[:, :, 4] = torch.nan
    broken[LABELS[:, 4] == 4] = 0.5  # where a mask leaves it out
    assert call(broken).isnan()
    assert lovasz_hinge_loss(broken[:, 0], (LABELS > 2).long(), mask=~broken[:, 0].isnan()).isfinite()
    x = broken.clone().requires_grad_()
    value, gradient = value_and_gradient(lambda x: lovasz_softmax_loss(x, LABELS, mask=~x[:, 0].isnan()), x)
    assert value.isfinite()
    assert gradient.isfinite().all()


@over_calls
@pytest.mark.parametrize("factor", [1e30, 1e37])
def test_huge_logits_have_finite_losses_and_gradients(call: Call, factor: float) -> None:
    x = (factor * logits().detach().clamp(-3, 3)).requires_grad_()
    value, gradient = value_and_gradient(call, x)
    assert value.isfinite()
    assert gradient.isfinite().all()


@over_calls
def test_which_form_is_taken(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def record(*arguments: object, **options: object) -> tuple[Tensor, Tensor]:
        taken.append(arguments)
        return weigh_rows(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(lovasz_cpu, "weigh_rows", record)
    call(logits())
    call(logits(torch.float16))
    assert len(taken) == 2
    call(logits(torch.float64))
    with matchloss.reference():
        call(logits())
    assert len(taken) == 2
