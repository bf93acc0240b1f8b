"""The CPU kernel of binary maps against the plain form: values, gradients, and what chooses between them."""

import pytest
import torch
from torch import Tensor

import matchloss
from inputs import generator
from matchloss.criteria import SegmentationCriterion
from matchloss.losses import sigmoid_dice_loss, sigmoid_generalized_dice_loss, sigmoid_jaccard_loss
from matchloss.losses._sigmoid_cpu import _plain, cpu_statistics

pytest.importorskip("numba")

from matchloss.kernels import sigmoid_statistics_cpu as kernel

SHAPES = [(1, 1, 1), (2, 3, 1000), (1, 2, 2 * kernel.BLOCK + 5), (3, 40, 7), (5, 4, 1), (0, 3, 40), (2, 3, 0)]
over_shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
over_kinds = pytest.mark.parametrize("kind", ["soft", "bool", "labels"])
Scene = tuple[Tensor, Tensor, Tensor | None]


def scene(shape: tuple[int, int, int], kind: str, *, masked: bool, scale: float = 3.0) -> Scene:
    """Logits, targets and what is valid; elsewhere NaN and infinities, in soft targets too."""
    images, classes, pixels = shape
    rng = generator(classes)
    logits, targets = scale * torch.randn(shape, generator=rng), torch.rand(shape, generator=rng)
    if kind == "bool":
        targets = targets < 0.3
    elif kind == "labels":
        targets = torch.randint(-1, classes, (images, pixels), generator=rng)
    if not masked:
        return logits, targets, None
    valid = torch.rand(shape, generator=rng) < 0.7
    odd = torch.tensor([torch.nan, torch.inf, -torch.inf])[torch.randint(0, 3, shape, generator=rng)]
    return torch.where(valid, logits, odd), torch.where(valid, targets, odd) if kind == "soft" else targets, valid


def random_pulls(shape: tuple[int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the cross entropy, the overlap and the predicted mass."""
    rng = generator(9)
    return (
        torch.randn(shape, generator=rng),
        torch.randn(shape[:2], generator=rng),
        torch.randn(shape[:2], generator=rng),
    )


def wanted(given: Scene, pulls: tuple[Tensor, ...], *, squared: bool) -> list[Tensor]:
    """All five results and the gradient, in float64."""
    logits, targets, valid = given
    wide = logits.double().requires_grad_()
    results = _plain(wide, targets, valid, squared)
    (gradient,) = torch.autograd.grad(results, wide, tuple(pull.double() for pull in pulls))
    if targets.shape != logits.shape:
        targets = targets.unsqueeze(1) == torch.arange(logits.shape[1]).unsqueeze(1)
    counted = torch.ones_like(logits, dtype=torch.bool) if valid is None else valid
    actual = torch.where(counted, targets.double(), 0.0)
    sums = (actual.square() if squared else actual).sum(2), counted.double().sum(2)
    return [*(result.detach() for result in results), *sums, gradient]


def computed(given: Scene, pulls: tuple[Tensor, ...], *, squared: bool) -> list[Tensor]:
    losses, sums = kernel.read_statistics(*given, squared, True)
    return [losses, *sums, kernel.write_gradient(*pulls, *given, squared)]


@over_kinds
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("squared", [False, True])
@over_shapes
def test_equals_the_plain_form(shape, squared, masked, kind) -> None:
    given, pulls = scene(shape, kind, masked=masked), random_pulls(shape)
    got = computed(given, pulls, squared=squared)
    for mine, right in zip(got, wanted(given, pulls, squared=squared), strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine.double(), right, rtol=2e-6, atol=2e-6)
    losses, sums = kernel.read_statistics(*given, squared, False)
    assert losses.shape == (shape[0], 0, shape[2])
    assert all(torch.equal(one, other) for one, other in zip(sums, got[1:5], strict=True))
    alone = kernel.write_gradient(None, *pulls[1:], *given, squared)
    none = kernel.write_gradient(torch.zeros(shape), *pulls[1:], *given, squared)
    assert torch.equal(alone, none)


def test_both_tails_keep_their_digits() -> None:
    logits = torch.tensor([-3e38, -87.0, -40.0, 40.0, 87.0, 3e38]).expand(2, 1, 6).contiguous()
    targets = torch.tensor([0.0, 1.0])[:, None, None].expand(2, 1, 6)
    losses, _ = kernel.read_statistics(logits, targets, None, False, True)
    none = torch.zeros(2, 1)
    slopes = kernel.write_gradient(torch.ones(2, 1, 6), none, none, logits, targets, None, False)
    side = 1 - 2 * targets.double()
    wrong = side * logits
    torch.testing.assert_close(
        losses.double(), wrong.clamp(min=0) + (-wrong.abs()).exp().log1p(), rtol=1e-5, atol=1e-38
    )
    torch.testing.assert_close(slopes.double(), side * wrong.sigmoid(), rtol=1e-5, atol=1e-38)


def test_nan_stays_with_its_element() -> None:
    logits, targets, _ = scene((2, 3, 100), "soft", masked=False)
    pulls = random_pulls((2, 3, 100))
    spoilt = logits.clone()
    spoilt[0, 1, 17] = torch.nan
    before, after = (computed((values, targets, None), pulls, squared=False) for values in (logits, spoilt))
    at = torch.zeros(2, 3, 100, dtype=torch.bool)
    at[0, 1, 17] = True
    for found in (after[0], after[5]):
        assert torch.equal(found.isnan(), at)
    for found, right in zip(after[1:3], before[1:3], strict=True):
        assert torch.equal(found.isnan(), at.any(2))
        assert torch.equal(found[1], right[1])


def test_a_gradient_of_nan_leaves_out_what_does_not_count() -> None:
    given = scene((1, 2, 50), "bool", masked=True)
    nan = torch.full((1, 2), torch.nan)
    slopes = kernel.write_gradient(None, nan, nan, *given, False)
    assert torch.equal(slopes.isnan(), given[2])
    assert not slopes[~given[2]].any()


def test_what_does_not_count_adds_exactly_nothing() -> None:
    given = torch.full((2, 3, 50), torch.nan), torch.full((2, 3, 50), torch.nan), torch.zeros(2, 3, 50).bool()
    assert not any(found.any() for found in computed(given, random_pulls((2, 3, 50)), squared=False))


def test_threads_share_the_elements() -> None:
    """The same digits with any number of threads."""
    shape = (2, 3, 3 * kernel.BLOCK + 11)
    given, pulls = scene(shape, "soft", masked=True), random_pulls(shape)
    alone = computed(given, pulls, squared=False)
    torch.set_num_threads(3)
    try:
        together = computed(given, pulls, squared=False)
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


def test_sums_of_many_elements_have_all_digits() -> None:
    elements = 1 << 20
    _, sums = kernel.read_statistics(
        torch.full((1, 1, elements), -7.0), torch.full((1, 1, elements), 0.1), None, False, False
    )
    little = torch.tensor(-7.0, dtype=torch.float64).sigmoid() * elements
    right = torch.stack([little * 0.1, little, torch.tensor(0.1 * elements), torch.tensor(float(elements))])
    torch.testing.assert_close(torch.cat(sums).flatten().double(), right, rtol=2e-6, atol=0)


def test_one_gradient_for_all_elements() -> None:
    """Of a sum it comes expanded, and is read as the one number that it is."""
    given, (_, *of_sums) = scene((2, 3, 70), "soft", masked=True), random_pulls((2, 3, 70))
    one = torch.tensor(0.3).expand(2, 3, 70)
    shared = kernel.write_gradient(one, *of_sums, *given, False)
    assert torch.equal(shared, kernel.write_gradient(one.contiguous(), *of_sums, *given, False))


LOSSES = {
    "dice": sigmoid_dice_loss,
    "squared": lambda *given, **options: sigmoid_dice_loss(*given, form="squared", **options),
    "jaccard": sigmoid_jaccard_loss,
    "generalized": sigmoid_generalized_dice_loss,
    "criterion": lambda *given, **options: (
        SegmentationCriterion({"cross_entropy": 1.0, "dice": 2.0}, activation="sigmoid")(*given, **options).total
    ),
}
over_losses = pytest.mark.parametrize("name", LOSSES)


def maps(kind: str, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Logits with the classes last in memory, targets with an ignored label, and a mask that classes share."""
    logits, targets, _ = scene((2, 6, 8 * 9), kind, masked=False)
    logits = logits.view(2, 6, 8, 9).contiguous(memory_format=torch.channels_last).to(dtype)
    mask = torch.rand(2, 1, 8, 9, generator=generator(1)) < 0.8
    logits = torch.where(mask, logits, torch.nan)
    if kind == "labels":
        targets = targets.view(2, 8, 9)
        targets[0, :3] = -100
        logits[0, :, :3] = torch.nan
        return logits, targets, mask
    return logits, targets.view(2, 6, 8, 9), mask


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@over_kinds
@over_losses
def test_a_loss_equals_the_plain_form(name, kind, dtype) -> None:
    """Elements that are masked or ignored hold NaN; two ways back through one graph are the same."""
    logits, targets, mask = maps(kind, dtype)
    results = []
    for select in (torch.enable_grad, matchloss.reference):
        leaf = logits.clone().requires_grad_()
        with select():
            value = LOSSES[name](leaf, targets, mask=mask)
            (first,) = torch.autograd.grad(value, leaf, retain_graph=True)
            (second,) = torch.autograd.grad(value, leaf)
        assert torch.equal(first, second)
        assert first.dtype == dtype
        results.append((value.detach(), first))
    for got, right in zip(*results, strict=True):
        assert got.isfinite().all()
        torch.testing.assert_close(got, right, rtol=1e-5 if dtype == torch.float32 else 1e-2, atol=1e-6)


@over_losses
def test_second_derivatives_are_those_of_the_plain_form(name) -> None:
    logits, targets, mask = maps("labels", torch.float32)
    results = []
    for select in (torch.enable_grad, matchloss.reference):
        leaf = logits.nan_to_num(0, 0, 0).requires_grad_()
        with select():
            (gradient,) = torch.autograd.grad(LOSSES[name](leaf, targets, mask=mask), leaf, create_graph=True)
            (second,) = torch.autograd.grad(gradient.square().sum(), leaf)
        results.append(second)
    assert results[1].any()
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-8)


@over_losses
def test_a_loss_takes_the_kernel_where_it_may(name, monkeypatch: pytest.MonkeyPatch) -> None:
    logits, targets, _ = scene((2, 3, 40), "soft", masked=False)
    calls, original, loss = [], kernel.read_statistics, LOSSES[name]
    monkeypatch.setattr(kernel, "read_statistics", lambda *given: calls.append(given) or original(*given))
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        calls.clear()
        loss(logits.to(dtype), targets)
        assert len(calls) == 1, dtype
    calls.clear()
    loss(logits.double(), targets)
    loss(logits.to("meta"), targets.to("meta"))
    loss(logits, targets.clone().requires_grad_())
    with matchloss.reference():
        loss(logits, targets)
    monkeypatch.setattr("matchloss.losses._sigmoid_cpu.has_numba", lambda: False)
    loss(logits, targets)
    assert not calls


def test_weights_and_soft_minima_are_left_to_the_plain_form() -> None:
    logits, targets, mask = scene((2, 3, 40), "soft", masked=False)[0], *scene((2, 3, 40), "soft", masked=True)[1:]
    targets = targets.nan_to_num(0, 0, 0)
    for options in ({"weights": torch.rand(2, 3, 40)}, {"form": "min"}):
        with matchloss.reference():
            right = sigmoid_dice_loss(logits, targets, mask=mask, **options)
        torch.testing.assert_close(sigmoid_dice_loss(logits, targets, mask=mask, **options), right)


def test_nothing_of_the_logits_size_is_kept() -> None:
    logits, targets, valid = scene((2, 3, 64), "soft", masked=True)
    logits.requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda values: kept.append(values) or values, lambda values: values):
        cpu_statistics(logits, targets, valid)
    assert {values.data_ptr() for values in kept} == {values.data_ptr() for values in (logits, targets, valid)}


def test_compiled_in_one_graph() -> None:
    logits, targets, _ = maps("bool", torch.float32)
    logits = logits.nan_to_num(0)
    compiled = torch.compile(lambda *given: sigmoid_dice_loss(*given), fullgraph=True, backend="aot_eager")
    one, other = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    compiled(one, targets).backward()
    sigmoid_dice_loss(other, targets).backward()
    torch.testing.assert_close(one.grad, other.grad)
