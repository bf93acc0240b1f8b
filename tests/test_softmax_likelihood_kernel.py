"""The CPU kernel of likelihoods against the plain form: values, gradients, and what chooses between them."""

import pytest
import torch
from torch import Tensor

import matchloss
from inputs import generator
from matchloss.losses import (
    _softmax_cpu as choice,
    cross_entropy_loss,
    ohem_cross_entropy_loss,
    poly1_cross_entropy_loss,
    softmax_focal_loss,
)
from matchloss.losses._softmax_plain import plain_likelihood

pytest.importorskip("numba")

from matchloss.kernels import softmax_likelihood_cpu as kernel
from matchloss.kernels.softmax_rows_cpu import CHUNK
from matchloss.kernels.softmax_tile_cpu import WIDEST, tile_width

# Images, classes, pixels: tiles and a bit of another, few pixels, lone ones with few and many classes, none.
SHAPES = [
    *[(1, 2, 2 * WIDEST + 5), (2, 19, tile_width(19) + 3), (3, 150, 333), (1, 7000, 33), (40, 5, 7)],
    *[(2000, 3, 1), (70, 64, 1), (70, 91, 1), (3, 2 * CHUNK + 9, 1), (1, 2, 1), (0, 3, 40), (3, 4, 0)],
]
over_shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
Scene = tuple[Tensor, Tensor, Tensor | None]


def scene(shape: tuple[int, int, int], *, masked: bool, scale: float = 2.0) -> Scene:
    """Logits, labels and what is valid; elsewhere NaN and infinities, with a label that is none."""
    images, classes, pixels = shape
    rng = generator(classes)
    logits = scale * torch.randn(shape, generator=rng)
    labels = torch.randint(0, classes, (images, pixels), generator=rng)
    if not masked:
        return logits, labels, None
    valid = torch.rand(images, pixels, generator=rng) < 0.7
    odd = torch.tensor([torch.nan, torch.inf, -torch.inf])[torch.randint(0, 3, shape, generator=rng)]
    return torch.where(valid.unsqueeze(1), logits, odd), torch.where(valid, labels, -100), valid


def spread_of(classes: int) -> Tensor:
    return torch.rand(classes, generator=generator(3)) / classes


def pulls_of(shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    rng = generator(9)
    return torch.randn(shape[::2], generator=rng), torch.randn(shape[::2], generator=rng)


def computed(given: Scene, spread: Tensor | None, pulls: tuple[Tensor, Tensor]) -> list[Tensor]:
    log_prob, summed, kept = kernel.read_likelihood(*given, spread)
    gradient = kernel.write_gradient(pulls, *given, spread, kept)
    return [log_prob, gradient] if spread is None else [log_prob, summed, gradient]


def wanted(given: Scene, spread: Tensor | None, pulls: tuple[Tensor, Tensor]) -> list[Tensor]:
    """In float64."""
    wide = given[0].double().requires_grad_()
    results = plain_likelihood(wide, *given[1:], None if spread is None else spread.double())
    wide_pulls = [pull.double() for pull in pulls[: len(results)]]
    return [*(result.detach() for result in results), *torch.autograd.grad(results, wide, wide_pulls)]


def check(given: Scene) -> None:
    """With a spread and without, each with all pixels of a class together and with all classes of a pixel."""
    logits, *rest = given
    pulls = pulls_of(tuple(logits.shape))
    in_rows = logits.transpose(1, 2).contiguous().transpose(1, 2)
    for spread in (None, spread_of(logits.shape[1])):
        right = wanted(given, spread, pulls)
        for layout in (logits, in_rows):
            got = computed((layout, *rest), spread, pulls)
            for one, other in zip(got, right, strict=True):
                assert one.dtype == torch.float32
                torch.testing.assert_close(one.double(), other, rtol=4e-6, atol=2e-6)
    if logits.numel() > 0 and logits.shape[2] > 1:
        assert got[-1].stride() == in_rows.stride()


@pytest.mark.parametrize("masked", [False, True])
@over_shapes
def test_equals_the_plain_form(shape, masked) -> None:
    check(scene(shape, masked=masked))


@pytest.mark.parametrize("scale", [0.0, 30.0, 1e4, 1e30])
def test_extreme_logits(scale) -> None:
    """Of one class or of none; log probabilities keep their digits, however low."""
    check(scene((2, 5, 200), masked=True, scale=scale))
    check(scene((9, 70, 1), masked=True, scale=scale))


def test_negative_logits_in_long_rows() -> None:
    """The highest of them is the one with the lowest bits."""
    logits, labels, _ = scene((50, 100, 1), masked=False, scale=300.0)
    check((-1000 - logits.abs(), labels, None))


@pytest.mark.parametrize("shape", [(1, 4, 64), (64, 4, 1), (64, 80, 1)], ids=str)
def test_a_class_that_is_ruled_out(shape) -> None:
    """Logits of minus infinity: no gradient; as a label, infinitely unlikely."""
    logits, labels, _ = scene(shape, masked=False)
    logits[:, 2] = -torch.inf
    labels[labels == 2] = 1
    labels.view(-1)[5] = 2
    log_prob, gradient = computed((logits, labels, None), None, pulls_of(shape))
    assert log_prob.view(-1)[5] == -torch.inf
    assert log_prob.isinf().sum() == 1
    assert gradient.isfinite().all()
    assert torch.equal(gradient[:, 2].flatten().nonzero().flatten(), torch.tensor([5]))


@pytest.mark.parametrize("shape", [(2, 6, 100), (200, 6, 1), (200, 90, 1)], ids=str)
def test_nan_stays_with_its_pixel(shape) -> None:
    logits, labels, _ = scene(shape, masked=False)
    pulls = pulls_of(shape)
    before = computed((logits, labels, None), None, pulls)
    for bad in (torch.nan, -torch.tensor(torch.nan), torch.inf):
        spoilt = logits.clone()
        spoilt[1, 3, -1] = bad
        log_prob, gradient = computed((spoilt, labels, None), None, pulls)
        touched = torch.zeros_like(log_prob, dtype=torch.bool)
        touched[1, -1] = True
        assert torch.equal(log_prob.isnan(), touched)
        assert torch.equal(gradient.isnan(), touched.unsqueeze(1).expand(shape))
        assert torch.equal(log_prob[~touched], before[0][~touched])


@pytest.mark.parametrize("shape", [(2, 4, 3 * WIDEST + 11), (70000, 3, 1), (3000, 64, 1)], ids=str)
def test_threads_share_the_work(shape) -> None:
    """The same digits with any number of threads."""
    given, pulls, spread = scene(shape, masked=True), pulls_of(shape), spread_of(shape[1])
    alone = computed(given, spread, pulls)
    torch.set_num_threads(3)
    try:
        together = computed(given, spread, pulls)
    finally:
        torch.set_num_threads(1)
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("shape", [(2, 3, 70), (50, 80, 1)], ids=str)
def test_one_gradient_for_all_pixels(shape) -> None:
    """Of a sum it comes expanded, and is read as the one number that it is."""
    given, spread = scene(shape, masked=True), spread_of(shape[1])
    one = torch.tensor(0.3).expand(shape[::2])
    got = computed(given, spread, (one, one))[-1]
    assert torch.equal(got, computed(given, spread, (one.contiguous(), one.contiguous()))[-1])


def test_strides() -> None:
    logits, labels, valid = scene((3, 7, 80), masked=True)
    pulls = pulls_of((3, 7, 40))
    apart = computed((logits[:, :, ::2], labels[:, ::2], valid[:, ::2]), None, pulls)
    dense = computed(
        (logits[:, :, ::2].contiguous(), labels[:, ::2].contiguous().short(), valid[:, ::2].contiguous()), None, pulls
    )
    for one, other in zip(apart, dense, strict=True):
        assert torch.equal(one, other)


WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 0.0, 1.5, 3.0])
LOSSES = {
    "cross_entropy": cross_entropy_loss,
    "weighted": lambda *given, **options: cross_entropy_loss(*given, class_weights=WEIGHTS, **options),
    "smoothed": lambda *given, **options: cross_entropy_loss(*given, label_smoothing=0.1, **options),
    "weighted and smoothed": lambda *given, **options: cross_entropy_loss(
        *given, label_smoothing=0.3, class_weights=WEIGHTS, **options
    ),
    "focal": softmax_focal_loss,
    "poly": poly1_cross_entropy_loss,
    "ohem": ohem_cross_entropy_loss,
}
over_losses = pytest.mark.parametrize("name", LOSSES)


def both_ways(loss, logits: Tensor, *given: Tensor, **options: object) -> list[tuple[Tensor, Tensor]]:
    """Value and gradient with the kernel and without, and that two ways back give the same."""
    results = []
    for select in (torch.enable_grad, matchloss.reference):
        leaf = logits.clone().requires_grad_()
        with select():
            value = loss(leaf, *given, **options)
            (first,) = torch.autograd.grad(value.sum(), leaf, retain_graph=True)
            (second,) = torch.autograd.grad(value.sum(), leaf)
        assert torch.equal(first, second)
        assert first.dtype == logits.dtype
        results.append((value.detach(), first))
    return results


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", ["maps", "channels last", "class last", "rows"])
@over_losses
def test_a_loss_equals_the_plain_form(name, layout, dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ignored pixels hold NaN."""
    monkeypatch.setattr(choice, "FEWEST_LOGITS", 0)
    logits, labels, _ = scene((2, 6, 8 * 9), masked=True)
    logits, labels, class_dim = logits.view(2, 6, 8, 9).to(dtype), labels.view(2, 8, 9), 1
    if layout == "channels last":
        logits = logits.contiguous(memory_format=torch.channels_last)
    elif layout == "class last":
        logits, class_dim = logits.movedim(1, -1).contiguous(), -1
    elif layout == "rows":
        logits, labels = logits.movedim(1, -1).reshape(-1, 6), labels.flatten()
    for reduction in ("mean", "none"):
        results = both_ways(LOSSES[name], logits, labels, class_dim=class_dim, reduction=reduction)
        for got, right in zip(*results, strict=True):
            assert got.isfinite().all()
            tolerance = 1e-5 if dtype == torch.float32 else 1e-2
            torch.testing.assert_close(got, right, rtol=tolerance, atol=1e-6)


@over_losses
def test_masks_and_weights(name, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "FEWEST_LOGITS", 0)
    logits, labels, valid = scene((2, 6, 90), masked=True)
    weights = torch.where(valid, torch.rand(2, 90, generator=generator(1)), torch.nan)
    results = both_ways(LOSSES[name], logits, labels.clamp(min=0), mask=valid, weights=weights)
    for got, right in zip(*results, strict=True):
        torch.testing.assert_close(got, right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 6, 40), (40, 6, 1), (20, 80, 1)], ids=str)
@pytest.mark.parametrize("name", ["cross_entropy", "smoothed", "focal"])
def test_second_derivatives_are_those_of_the_plain_form(name, shape, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "FEWEST_LOGITS", 0)
    logits, labels, _ = scene(shape, masked=True)
    logits = logits.nan_to_num(0, 0, 0)
    results = []
    for select in (torch.enable_grad, matchloss.reference):
        leaf = logits.clone().requires_grad_()
        with select():
            value = LOSSES[name](leaf, labels)
            (gradient,) = torch.autograd.grad(value, leaf, create_graph=True)
            (second,) = torch.autograd.grad(gradient.square().sum(), leaf)
        results.append(second)
    assert results[1].any()
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-8)


def test_weights_that_learn_have_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "FEWEST_LOGITS", 0)
    logits, labels, _ = scene((2, 6, 40), masked=False)
    gradients = []
    for select in (torch.enable_grad, matchloss.reference):
        weights = WEIGHTS.clone().requires_grad_()
        with select():
            loss = cross_entropy_loss(logits, labels, class_weights=weights, label_smoothing=0.2)
        gradients += torch.autograd.grad(loss, weights)
    torch.testing.assert_close(*gradients)


def test_nothing_valid_is_plus_zero() -> None:
    loss = cross_entropy_loss(torch.zeros(1, 2, 4), torch.full((1, 4), -100))
    assert not loss.signbit()


@over_losses
def test_a_loss_takes_the_kernel_where_it_may(name, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 1 + choice.FEWEST_LOGITS // 6
    logits, labels, _ = scene((1, 6, rows), masked=True)
    logits, loss = logits.nan_to_num(0, 0, 0), LOSSES[name]
    calls, original = [], kernel.read_likelihood
    monkeypatch.setattr(kernel, "read_likelihood", lambda *given: calls.append(given) or original(*given))
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for one, other in ((logits, labels), (logits[0].T, labels[0])):
            calls.clear()
            loss(one.to(dtype), other)
            assert len(calls) == 1, (dtype, one.shape)
    calls.clear()
    loss(logits.double(), labels)
    loss(logits[..., 9:], labels[..., 9:])
    loss(logits.to("meta"), labels.to("meta"))
    with matchloss.reference():
        loss(logits, labels)
    monkeypatch.setattr(choice, "has_numba", lambda: False)
    loss(logits, labels)
    assert not calls


def test_what_is_kept() -> None:
    """Of the size of the logits, the logits alone."""
    logits, labels, valid = scene((2, 6, 64), masked=True)
    logits.requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda values: kept.append(values) or values, lambda values: values):
        choice.cpu_likelihood(logits, labels, valid, None)
    given = {values.data_ptr() for values in (logits, labels, valid)}
    assert [tuple(values.shape) for values in kept if values.data_ptr() not in given] == [(2, 2, 64)]
