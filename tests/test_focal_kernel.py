"""The CPU kernel of the focal loss against the plain form: values, gradients, and what chooses between the two."""

import pytest
import torch
from torch import Tensor

import matchloss
from inputs import generator
from matchloss.losses import sigmoid_focal_loss
from matchloss.losses._focal_rows import focal_rows
from matchloss.losses._focal_term import focal_term, plain_focal_term

pytest.importorskip("numba")

from matchloss.kernels import focal_cpu, focal_rows_cpu

OPTIONS = [(0.25, 2.0), (None, 2.0), (0.6, 1.5), (None, 0.0), (0.25, 0.5), (1.0, 3.0), (0.0, 2.0)]
SHAPES = [(1, 1), (7, 1), (5, 3), (3, 80), (130, 17), (2, 3000), (1, 2049), (0, 4), (4, 0)]
over_options = pytest.mark.parametrize(("alpha", "gamma"), OPTIONS)
over_shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def random_rows(rows: int, classes: int) -> tuple[Tensor, Tensor]:
    """Logits with labels, half of them background."""
    rng = generator(rows + classes)
    labels = torch.randint(-max(classes, 1), max(classes, 1), (rows,), generator=rng).clamp(min=-1)
    return 4 * torch.randn(rows, classes, generator=rng), labels.clamp(max=classes - 1)


def extremes() -> Tensor:
    """Where p or 1 - p underflow, has no digits left, or is a half."""
    sizes = torch.tensor([0.0, 1e-30, 1e-4, 1.0, 15.0, 17.0, 40.0, 87.2, 87.4, 88.8, 104.0, 1e4, 3e38])
    return torch.cat([sizes, -sizes])


def one_hot(labels: Tensor, classes: int) -> Tensor:
    return (labels.unsqueeze(1) == torch.arange(classes)).float()


def wanted_elements(logits: Tensor, targets: Tensor, alpha: float | None, gamma: float) -> tuple[Tensor, Tensor]:
    """Values and derivatives in float64."""
    wide = logits.double().requires_grad_()
    loss = plain_focal_term(wide, targets.double(), alpha, gamma)
    (slopes,) = torch.autograd.grad(loss.sum(), wide)
    return loss.detach(), slopes


def assert_near(got: Tensor, wanted: Tensor) -> None:
    """Relative, of each element: the tails too have their digits. Below 1e-30 a power of a rounded logarithm ends."""
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=1e-30)


@over_options
@over_shapes
def test_sums_over_classes(shape, alpha, gamma) -> None:
    logits, labels = random_rows(*shape)
    loss, slopes = wanted_elements(logits, one_hot(labels, shape[1]), alpha, gamma)
    grad = torch.randn(shape[0], generator=generator(1))
    assert_near(focal_rows_cpu.focal_row_sums(logits, labels, None, alpha, gamma), loss.sum(1))
    assert_near(focal_rows_cpu.focal_row_slopes(logits, labels, None, grad, alpha, gamma), slopes * grad.unsqueeze(1))


@over_options
def test_dense_targets(alpha, gamma) -> None:
    rng = generator(2)
    logits, targets = 5 * torch.randn(41, 53, generator=rng), torch.rand(41, 53, generator=rng)
    targets = torch.where(torch.rand(41, 53, generator=rng) < 0.5, targets.round(), targets)
    loss, slopes = wanted_elements(logits, targets, alpha, gamma)
    assert_near(focal_cpu.focal_elements(logits, targets, alpha, gamma), loss)
    got = focal_cpu.focal_element_slopes(logits, targets, -3.0, alpha, gamma)
    torch.testing.assert_close(got.double(), -3 * slopes, rtol=1e-5, atol=1e-6)  # of soft targets, a difference


@over_options
@pytest.mark.parametrize("target", [0.0, 1.0, 0.25])
def test_extreme_logits(target, alpha, gamma) -> None:
    """Finite, and of hard targets with all digits as far as a normal number reaches."""
    logits = extremes()
    targets = torch.full_like(logits, target)
    loss, slopes = wanted_elements(logits, targets, alpha, gamma)
    values = focal_cpu.focal_elements(logits, targets, alpha, gamma)
    derivatives = focal_cpu.focal_element_slopes(logits, targets, 1.0, alpha, gamma)
    atol = 1e-15 if gamma < 1 else 1e-30  # the reference subtracts, and what is left of that no power makes smaller
    torch.testing.assert_close(values.double(), loss, rtol=2e-5, atol=atol)
    torch.testing.assert_close(derivatives.double(), slopes, rtol=2e-5, atol=max(atol, 1e-7 * (target == 0.25)))


@over_options
def test_nan_and_masked_rows(alpha, gamma) -> None:
    """A NaN stays in its row; a row that does not count has neither a sum nor a gradient, whatever it holds."""
    logits, labels = random_rows(60, 40)
    valid = torch.arange(60) % 3 > 0
    spoilt = logits.clone()
    spoilt[~valid] = torch.tensor([float("nan"), float("inf"), -float("inf"), 1.0]).repeat(10)
    labels[~valid] = -1
    grad = torch.ones(60)
    clean = focal_rows_cpu.focal_row_sums(logits, labels, None, alpha, gamma)
    clean_slopes = focal_rows_cpu.focal_row_slopes(logits, labels, None, grad, alpha, gamma)
    sums = focal_rows_cpu.focal_row_sums(spoilt, labels, valid, alpha, gamma)
    slopes = focal_rows_cpu.focal_row_slopes(spoilt, labels, valid, grad, alpha, gamma)
    assert torch.equal(sums, torch.where(valid, clean, 0.0))
    assert torch.equal(slopes, torch.where(valid.unsqueeze(1), clean_slopes, 0.0))
    sums = focal_rows_cpu.focal_row_sums(spoilt, labels, None, alpha, gamma)
    assert torch.equal(sums.isnan(), ~valid)
    slopes = focal_rows_cpu.focal_row_slopes(spoilt, labels, None, grad, alpha, gamma)
    assert torch.equal(slopes[valid], clean_slopes[valid])
    assert slopes[spoilt.isnan()].isnan().all()


@pytest.mark.parametrize("gamma", [2.0, 1.5])
def test_threads_share_the_rows(gamma) -> None:
    """The same digits with any number of threads, and rows that do not divide evenly."""
    logits, labels = random_rows(50_021, 7)
    grad = torch.rand(50_021, generator=generator(3))
    targets = one_hot(labels, 7)

    def all_of_it() -> list[Tensor]:
        return [
            focal_rows_cpu.focal_row_sums(logits, labels, None, 0.25, gamma),
            focal_rows_cpu.focal_row_slopes(logits, labels, None, grad, 0.25, gamma),
            focal_cpu.focal_elements(logits, targets, 0.25, gamma),
            focal_cpu.focal_element_slopes(logits, targets, 1.0, 0.25, gamma),
        ]

    alone = all_of_it()
    torch.set_num_threads(3)
    try:
        together = all_of_it()
    finally:
        torch.set_num_threads(1)
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one, other)


def test_a_sum_of_many_rows_has_all_digits() -> None:
    logits, labels = torch.full((2, 100_000), -4.0), torch.tensor([-1, 5])
    loss, _ = wanted_elements(logits, one_hot(labels, 100_000), 0.25, 2.0)
    sums = focal_rows_cpu.focal_row_sums(logits, labels, None, 0.25, 2.0)
    torch.testing.assert_close(sums.double(), loss.sum(1), rtol=2e-7, atol=0)


def gradients(loss, leaf: Tensor) -> tuple[Tensor, Tensor]:
    """Of the loss, twice from one graph: what is saved must not change."""
    value = loss(leaf)
    first = torch.autograd.grad(value.sum(), leaf, retain_graph=True)[0]
    second = torch.autograd.grad(value.sum(), leaf)[0]
    assert torch.equal(first, second)
    return value.detach(), first


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["labels", "dense", "scores", "weights", "mask"])
def test_the_loss_equals_the_plain_form(kind, dtype, reduction) -> None:
    """With a layout that is not contiguous, ignored rows that hold NaN, and each option that has its own path."""
    rng = generator(4)
    whole = 3 * torch.randn(6, 20, 9, generator=rng).to(dtype)
    labels = torch.randint(-1, 6, (9, 20), generator=rng)
    labels[2, 3:9] = -100
    options = {"reduction": reduction, "alpha": 0.3}
    targets = labels
    if kind == "dense":
        targets = torch.rand(9, 20, 6, generator=rng)
    elif kind == "scores":
        options["scores"] = torch.rand(9, 20, generator=rng)
    elif kind == "weights":
        options["weights"] = torch.rand(9, 20, 6, generator=rng)
    elif kind == "mask":
        options["mask"] = torch.rand(9, 20, 1, generator=rng) < 0.7
    logits = whole.transpose(0, 2)
    if kind != "dense":
        logits = torch.where((labels == -100).unsqueeze(-1), torch.nan, logits)
    results = []
    for select in (torch.enable_grad, matchloss.reference):
        with select():
            leaf = logits.detach().clone(memory_format=torch.preserve_format).requires_grad_()
            assert not leaf.is_contiguous() or kind != "dense"
            results.append(gradients(lambda leaf: sigmoid_focal_loss(leaf, targets, **options), leaf))
    for got, wanted in zip(*results, strict=True):
        assert got.isfinite().all()
        torch.testing.assert_close(got, wanted, rtol=1e-5 if dtype == torch.float32 else 1e-2, atol=1e-7)


@pytest.mark.parametrize("dense", [False, True])
def test_second_derivatives_are_those_of_the_plain_form(dense) -> None:
    logits, labels = random_rows(5, 4)
    targets = torch.rand(5, 4, generator=generator(6)) if dense else labels
    results = []
    for select in (torch.enable_grad, matchloss.reference):
        leaf = logits.clone().requires_grad_()
        with select():
            (gradient,) = torch.autograd.grad(sigmoid_focal_loss(leaf, targets), leaf, create_graph=True)
            (second,) = torch.autograd.grad(gradient.square().sum(), leaf)
        results.append(second)
    assert results[1].any()
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-9)


def test_the_loss_takes_the_kernel_where_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = random_rows(5, 4)
    dense = one_hot(labels, 4)
    calls = []
    for module, name in ((focal_rows_cpu, "focal_row_sums"), (focal_cpu, "focal_elements")):
        kernel = getattr(module, name)
        spy = lambda *given, kernel=kernel: calls.append(given) or kernel(*given)  # noqa: E731
        monkeypatch.setattr(module, name, spy)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for targets in (labels, dense):
            calls.clear()
            sigmoid_focal_loss(logits.to(dtype), targets)
            assert len(calls) == 1, (dtype, targets.shape)
    calls.clear()
    for targets in (labels, dense):
        sigmoid_focal_loss(logits.double(), targets)
        sigmoid_focal_loss(logits.to("meta"), targets.to("meta"))
        with matchloss.reference():
            sigmoid_focal_loss(logits, targets)
    sigmoid_focal_loss(logits, dense.clone().requires_grad_()).backward()
    monkeypatch.setattr("matchloss.losses._focal_term.has_numba", lambda: False)
    for targets in (labels, dense):
        sigmoid_focal_loss(logits, targets)
    assert not calls


def test_nothing_of_the_logits_size_is_kept() -> None:
    """The graph holds the caller's own tensors, and so do both ways of the loss."""
    logits, labels = random_rows(50, 40)
    logits.requires_grad_()
    dense = one_hot(labels, 40)
    mine = {values.data_ptr() for values in (logits, dense, labels)}
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda values: kept.append(values) or values, lambda values: values):
        focal_rows(logits, labels, None, 0.25, 2.0).sum()
        focal_term(logits, dense, 0.25, 2.0).sum()
    assert len(kept) == 4
    assert {values.data_ptr() for values in kept} == mine
