"""The CPU kernels of the binary cross entropy against the plain form: values, gradients, and what chooses them."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import matchloss
from inputs import generator
from matchloss.losses import binary_cross_entropy_loss

pytest.importorskip("numba")

from matchloss.kernels import binary_cross_entropy_cpu as kernel

SHAPES = [(1, 1), (7, 1), (5, 3), (40, 80), (130, 17), (2, 3000), (1, kernel.TILE + 1), (0, 4), (4, 0)]
over_shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def rows(shape: tuple[int, int], *, scored: bool, masked: bool) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Logits, labels of which half are background, scores, and the rows that count; elsewhere all is wrong."""
    rng = generator(sum(shape))
    logits = 4 * torch.randn(shape, generator=rng)
    labels = torch.randint(-max(shape[1], 1), max(shape[1], 1), shape[:1], generator=rng).clamp(-1, shape[1] - 1)
    scores = torch.rand(shape[0], generator=rng) if scored else None
    if not masked:
        return logits, labels, scores, None
    valid = torch.rand(shape[0], generator=rng) < 0.7
    labels = torch.where(valid, labels, 10**6)
    scores = None if scores is None else torch.where(valid, scores, torch.nan)
    return torch.where(valid.unsqueeze(1), logits, torch.nan), labels, scores, valid


def dense(logits: Tensor, labels: Tensor, scores: Tensor | None) -> Tensor:
    hit = labels.unsqueeze(1) == torch.arange(logits.shape[1])
    return hit.double() * (1 if scores is None else scores.double().nan_to_num().unsqueeze(1))


def wanted(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Losses and slopes in float64; NaN counts as what does not."""
    wide = logits.double().nan_to_num(nan=0.0).requires_grad_()
    losses = F.binary_cross_entropy_with_logits(wide, targets.double(), reduction="none")
    losses = torch.where(logits.isnan(), 0.0, losses)
    (slopes,) = torch.autograd.grad(losses.sum(), wide)
    return losses.detach(), slopes


def assert_near(got: Tensor, right: Tensor) -> None:
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), right, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("scored", [False, True])
@over_shapes
def test_labels(shape, scored, masked) -> None:
    logits, labels, scores, valid = rows(shape, scored=scored, masked=masked)
    losses, slopes = wanted(logits, dense(logits, labels, scores))
    assert_near(kernel.label_sum(logits, labels, scores, valid), losses.sum())
    assert_near(kernel.label_slopes(logits, labels, scores, valid, -0.3), -0.3 * slopes)


@over_shapes
def test_dense_targets(shape) -> None:
    rng = generator(3)
    logits, targets = 4 * torch.randn(shape, generator=rng), torch.rand(shape, generator=rng)
    losses, slopes = wanted(logits, targets)
    assert_near(kernel.element_losses(logits, targets), losses)
    assert_near(kernel.element_sum(logits, targets), losses.sum())
    grad = torch.randn(shape, generator=rng)
    assert_near(kernel.element_slopes(logits, targets, grad), grad * slopes)
    shared = kernel.element_slopes(logits, targets, torch.tensor(0.3).expand(shape))
    assert_near(shared, 0.3 * slopes)


def test_both_tails_keep_their_digits() -> None:
    logits = torch.tensor([-3e38, -87.0, -40.0, 40.0, 87.0, 3e38]).expand(2, 6).contiguous()
    targets = torch.tensor([0.0, 1.0]).unsqueeze(1).expand(2, 6)
    side = 1 - 2 * targets.double()
    wrong = side * logits
    right = wrong.clamp(min=0) + (-wrong.abs()).exp().log1p()
    torch.testing.assert_close(kernel.element_losses(logits, targets).double(), right, rtol=1e-5, atol=1e-38)
    slopes = kernel.element_slopes(logits, targets, torch.ones(2, 6)).double()
    torch.testing.assert_close(slopes, side * wrong.sigmoid(), rtol=1e-5, atol=1e-38)


def test_rows_that_do_not_count_add_exactly_nothing() -> None:
    logits, labels = torch.full((50, 3), torch.nan), torch.ones(50, dtype=torch.long)
    none = torch.zeros(50, dtype=torch.bool)
    assert kernel.label_sum(logits, labels, None, none) == 0
    assert not kernel.label_slopes(logits, labels, None, none, 1.0).any()


def test_nan_that_counts_stays_to_be_seen() -> None:
    logits, labels, _, _ = rows((9, 5), scored=False, masked=False)
    logits[3, 2] = torch.nan
    assert kernel.label_sum(logits, labels, None, None).isnan()
    at = kernel.label_slopes(logits, labels, None, None, 1.0).isnan().nonzero()
    assert at.tolist() == [[3, 2]]


@pytest.mark.parametrize("masked", [False, True])
def test_threads_share_the_rows(masked) -> None:
    """The same digits with any number of threads."""
    given = rows((5000, 80), scored=True, masked=masked)
    targets = torch.rand(5000, 80, generator=generator(1))

    def all_of_them() -> list[Tensor]:
        with_labels = kernel.label_sum(*given), kernel.label_slopes(*given, 0.7)
        some = given[0], targets
        return [*with_labels, kernel.element_sum(*some), kernel.element_slopes(*some, targets)]

    alone = all_of_them()
    torch.set_num_threads(3)
    try:
        together = all_of_them()
    finally:
        torch.set_num_threads(1)
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def test_a_sum_of_many_elements_has_all_digits() -> None:
    logits = torch.full((1 << 20,), -9.0)
    right = (1 << 20) * torch.tensor(-9.0, dtype=torch.float64).exp().log1p()
    got = kernel.element_sum(logits, torch.zeros(1 << 20))
    torch.testing.assert_close(got.double(), right, rtol=2e-6, atol=0)


OPTIONS = {
    "mean": {},
    "sum": {"reduction": "sum"},
    "none": {"reduction": "none"},
    "smooth": {"label_smoothing": 0.1},
    "weights": {"weights": torch.rand(6, 7, 1, generator=generator(5))},
    "positives": {"pos_weight": torch.rand(9, generator=generator(6))},
}
over_options = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())


def given(kind: str, dtype: torch.dtype) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Logits that do not lie in a row, with some that are ignored and NaN."""
    rng = generator(4)
    logits = (3 * torch.randn(9, 7, 6, generator=rng)).permute(2, 1, 0).to(dtype)
    if kind == "dense":
        return logits, torch.rand(6, 7, 9, generator=rng), {}
    if kind == "bool":
        return logits, torch.rand(6, 7, 9, generator=rng) < 0.4, {}
    if kind == "masked":
        mask = torch.rand(6, 7, 1, generator=rng) < 0.7
        return torch.where(mask, logits, torch.nan), torch.rand(6, 7, 9, generator=rng), {"mask": mask}
    labels = torch.randint(-1, 9, (6, 7), generator=rng)
    if kind == "ignored":
        labels[2:4] = -100
        logits[2:4] = torch.nan
    return logits, labels, {"scores": torch.rand(6, 7, generator=rng)} if kind == "scored" else {}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ["dense", "bool", "masked", "labels", "scored", "ignored"])
@over_options
def test_the_loss_equals_the_plain_form(options, kind, dtype) -> None:
    """Two ways back through one graph are the same."""
    logits, targets, more = given(kind, dtype)
    results = []
    for select in (torch.enable_grad, matchloss.reference):
        leaf = logits.clone().requires_grad_()
        with select():
            value = binary_cross_entropy_loss(leaf, targets, **more, **options)
            (first,) = torch.autograd.grad(value.square().sum(), leaf, retain_graph=True)
            (second,) = torch.autograd.grad(value.square().sum(), leaf)
        assert torch.equal(first, second)
        assert first.dtype == dtype
        results.append((value.detach(), first))
    for got, right in zip(*results, strict=True):
        assert got.isfinite().all()
        digits = 1e-5 if dtype == torch.float32 else 1e-2
        torch.testing.assert_close(got, right, rtol=digits, atol=1e-6 * max(1.0, float(right.abs().max())))


@pytest.mark.parametrize("kind", ["dense", "scored", "ignored"])
@over_options
def test_second_derivatives_are_those_of_the_plain_form(options, kind) -> None:
    logits, targets, more = given(kind, torch.float32)
    results = []
    for select in (torch.enable_grad, matchloss.reference):
        leaf = logits.clone().requires_grad_()
        with select():
            value = binary_cross_entropy_loss(leaf, targets, **more, **options).square().sum()
            (gradient,) = torch.autograd.grad(value, leaf, create_graph=True)
            (second,) = torch.autograd.grad(gradient.square().sum(), leaf)
        results.append(second)
    assert results[1].any()
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("label_sum", "labels", OPTIONS["mean"]),
        ("label_sum", "scored", OPTIONS["sum"]),
        ("element_sum", "dense", OPTIONS["mean"]),
        ("element_losses", "dense", OPTIONS["none"]),
        ("element_losses", "masked", OPTIONS["mean"]),
        ("element_losses", "scored", OPTIONS["weights"]),
        ("element_losses", "labels", OPTIONS["smooth"]),
    ],
)
def test_a_loss_takes_the_kernel_where_it_may(name, kind, options, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, original = [], getattr(kernel, name)
    monkeypatch.setattr(kernel, name, lambda *given: calls.append(given) or original(*given))
    logits, targets, more = given(kind, torch.float32)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        calls.clear()
        binary_cross_entropy_loss(logits.to(dtype), targets, **more, **options)
        assert len(calls) == 1, dtype
    calls.clear()
    binary_cross_entropy_loss(logits.double(), targets, **more, **options)
    if targets.is_floating_point():
        binary_cross_entropy_loss(logits, targets.clone().requires_grad_(), **more, **options)
    with matchloss.reference():
        binary_cross_entropy_loss(logits, targets, **more, **options)
    monkeypatch.setattr("matchloss.losses._sigmoid_cpu.has_numba", lambda: False)
    binary_cross_entropy_loss(logits, targets, **more, **options)
    assert not calls


def test_scores_that_learn_are_left_to_the_plain_form() -> None:
    logits, labels, more = given("scored", torch.float32)
    scores = more["scores"].requires_grad_()
    binary_cross_entropy_loss(logits, labels, scores=scores).backward()
    assert scores.grad is not None


@pytest.mark.parametrize("kind", ["dense", "scored"])
def test_compiled_in_one_graph(kind) -> None:
    logits, targets, more = given(kind, torch.float32)
    compiled = torch.compile(binary_cross_entropy_loss, fullgraph=True, backend="aot_eager")
    one, other = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    compiled(one, targets, **more).backward()
    binary_cross_entropy_loss(other, targets, **more).backward()
    torch.testing.assert_close(one.grad, other.grad)
