"""The CPU kernel of the softmax statistics against the plain form: values, gradients, and what chooses between them."""

import pytest
import torch
from torch import Tensor

import matchloss
from inputs import generator
from matchloss.criteria import SegmentationCriterion
from matchloss.losses import softmax_dice_loss, softmax_generalized_dice_loss
from matchloss.losses._softmax_cpu import FEWEST_PIXELS, cpu_statistics
from matchloss.losses._softmax_plain import plain_statistics

pytest.importorskip("numba")

from matchloss.kernels import softmax_statistics_cpu as kernel

SHAPES = [(1, 2, 32), (2, 19, 1000), (1, 3, 2 * kernel.BLOCK + 5), (3, 150, 333), (1, 7000, 33), (2, 5, 1), (0, 3, 40)]
over_shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def scene(shape: tuple[int, int, int], *, masked: bool, scale: float = 2.0) -> tuple[Tensor, Tensor, Tensor | None]:
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


def wanted(logits: Tensor, labels: Tensor, valid: Tensor | None, pulls: tuple[Tensor, Tensor]) -> list[Tensor]:
    """Both results and the gradient, in float64."""
    wide = logits.double().requires_grad_()
    log_prob, *sums = plain_statistics(wide, labels, valid)
    results = log_prob, torch.stack(sums, 1)
    (gradient,) = torch.autograd.grad(results, wide, tuple(pull.double() for pull in pulls))
    return [log_prob.detach(), results[1].detach(), gradient]


def random_pulls(shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    images, classes, pixels = shape
    rng = generator(9)
    return torch.randn(images, pixels, generator=rng), torch.randn(images, 3, classes, generator=rng)


def computed(logits: Tensor, labels: Tensor, valid: Tensor | None, pulls: tuple[Tensor, Tensor]) -> list[Tensor]:
    log_prob, sums, kept = kernel.read_statistics(logits, labels, valid)
    return [log_prob, sums, kernel.write_gradient(*pulls, logits, labels, valid, kept)]


@pytest.mark.parametrize("masked", [False, True])
@over_shapes
def test_equals_the_plain_form(shape, masked) -> None:
    given, pulls = scene(shape, masked=masked), random_pulls(shape)
    for got, right in zip(computed(*given, pulls), wanted(*given, pulls), strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got.double(), right, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("scale", [0.0, 30.0, 1e4, 1e30])
def test_extreme_logits(scale) -> None:
    """Of one class or of none; log probabilities keep their digits, however low."""
    shape = (2, 5, 200)
    given, pulls = scene(shape, masked=True, scale=scale), random_pulls(shape)
    for got, right in zip(computed(*given, pulls), wanted(*given, pulls), strict=True):
        torch.testing.assert_close(got.double(), right, rtol=2e-6, atol=2e-6)


def test_a_class_that_is_ruled_out() -> None:
    """Logits of minus infinity: no probability and no gradient; as a label, infinitely unlikely."""
    logits, labels, _ = scene((1, 4, 64), masked=False)
    logits[:, 2] = -torch.inf
    labels[labels == 2] = 1
    labels[0, 5] = 2
    log_prob, sums, gradient = computed(logits, labels, None, (torch.ones(1, 64), torch.zeros(1, 3, 4)))
    assert log_prob[0, 5] == -torch.inf
    assert log_prob.isinf().sum() == 1
    assert sums[0, 1, 2] == sums[0, 0, 2] == 0
    assert gradient.isfinite().all()
    assert torch.equal(gradient[0, 2].nonzero().flatten(), torch.tensor([5]))


def test_nan_stays_with_its_pixel() -> None:
    logits, labels, _ = scene((2, 6, 100), masked=False)
    pulls = random_pulls((2, 6, 100))
    before = computed(logits, labels, None, pulls)
    for bad in (torch.nan, torch.inf):
        spoilt = logits.clone()
        spoilt[0, 3, 17] = bad
        log_prob, sums, gradient = computed(spoilt, labels, None, pulls)
        touched = torch.zeros(2, 100, dtype=torch.bool)
        touched[0, 17] = True
        assert torch.equal(log_prob.isnan(), touched)
        assert sums[0, 1].isnan().all()
        assert torch.equal(sums[1], before[1][1])
        assert torch.equal(gradient.isnan(), touched.unsqueeze(1).expand(2, 6, 100))
        assert torch.equal(gradient[1], before[2][1])


def test_threads_share_the_pixels() -> None:
    """The same digits with any number of threads."""
    shape = (2, 4, 3 * kernel.BLOCK + 11)
    given, pulls = scene(shape, masked=True), random_pulls(shape)
    alone = computed(*given, pulls)
    torch.set_num_threads(3)
    try:
        together = computed(*given, pulls)
    finally:
        torch.set_num_threads(1)
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one, other)


def test_sums_of_many_pixels_have_all_digits() -> None:
    """Each pixel adds little; a running float32 sum would lose it."""
    pixels = 1 << 20
    logits = torch.tensor([0.0, -7.0]).view(1, 2, 1).expand(1, 2, pixels)
    _, sums, _ = kernel.read_statistics(logits, torch.ones(1, pixels, dtype=torch.long), None)
    little = pixels * torch.tensor([0.0, -7.0], dtype=torch.float64).softmax(0)
    right = torch.stack([little * torch.tensor([0, 1]), little, torch.tensor([0.0, pixels])]).unsqueeze(0)
    torch.testing.assert_close(sums.double(), right, rtol=3e-7, atol=0)


def test_one_gradient_for_all_pixels() -> None:
    """Of a sum it comes expanded, and is read as the one number that it is."""
    shape = (2, 3, 70)
    given, (_, of_sums) = scene(shape, masked=True), random_pulls(shape)
    one, kept = torch.tensor(0.3).expand(2, 70), kernel.read_statistics(*given)[2]
    got = kernel.write_gradient(one, of_sums, *given, kept)
    assert torch.equal(got, kernel.write_gradient(one.contiguous(), of_sums, *given, kept))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_labels_of_other_widths(dtype) -> None:
    logits, labels, _ = scene((2, 7, 50), masked=False)
    pulls = random_pulls((2, 7, 50))
    for one, other in zip(
        computed(logits, labels, None, pulls), computed(logits, labels.to(dtype), None, pulls), strict=True
    ):
        assert torch.equal(one, other)


LOSSES = {
    "criterion": lambda *given, **options: SegmentationCriterion({"cross_entropy": 1.0, "dice": 2.0})(*given).total,
    "dice": softmax_dice_loss,
    "generalized dice": softmax_generalized_dice_loss,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_equals_the_plain_form(name, dtype) -> None:
    """Logits with the classes last in memory, ignored pixels that hold NaN, and two ways back through one graph."""
    logits, labels, _ = scene((2, 6, 8 * 9), masked=True)
    logits = logits.view(2, 6, 8, 9).contiguous(memory_format=torch.channels_last).to(dtype)
    labels = labels.view(2, 8, 9)
    results = []
    for select in (torch.enable_grad, matchloss.reference):
        leaf = logits.clone().requires_grad_()
        with select():
            value = LOSSES[name](leaf, labels)
            (first,) = torch.autograd.grad(value, leaf, retain_graph=True)
            (second,) = torch.autograd.grad(value, leaf)
        assert torch.equal(first, second)
        assert first.dtype == dtype
        results.append((value.detach(), first))
    for got, right in zip(*results, strict=True):
        assert got.isfinite().all()
        torch.testing.assert_close(got, right, rtol=1e-5 if dtype == torch.float32 else 1e-2, atol=1e-6)


def test_second_derivatives_are_those_of_the_plain_form() -> None:
    logits, labels, _ = scene((1, 4, 40), masked=True)
    logits = logits.nan_to_num(0, 0, 0)
    results = []
    for select in (torch.enable_grad, matchloss.reference):
        leaf = logits.clone().requires_grad_()
        with select():
            value = LOSSES["criterion"](leaf, labels)
            (gradient,) = torch.autograd.grad(value, leaf, create_graph=True)
            (second,) = torch.autograd.grad(gradient.square().sum(), leaf)
        results.append(second)
    assert results[1].any()
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_takes_the_kernel_where_it_may(name, monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels, _ = scene((2, 3, FEWEST_PIXELS), masked=True)
    logits = logits.nan_to_num(0, 0, 0)
    calls, original, loss = [], kernel.read_statistics, LOSSES[name]
    monkeypatch.setattr(kernel, "read_statistics", lambda *given: calls.append(given) or original(*given))
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        calls.clear()
        loss(logits.to(dtype), labels)
        assert len(calls) == 1, dtype
    calls.clear()
    loss(logits.double(), labels)
    loss(logits[..., 1:], labels[..., 1:])
    loss(logits.to("meta"), labels.to("meta"))
    with matchloss.reference():
        loss(logits, labels)
    monkeypatch.setattr("matchloss.losses._softmax_cpu.has_numba", lambda: False)
    loss(logits, labels)
    assert not calls


def test_what_is_kept() -> None:
    """Of the size of the logits, the logits alone."""
    logits, labels, valid = scene((2, 6, 64), masked=True)
    logits.requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda values: kept.append(values) or values, lambda values: values):
        cpu_statistics(logits, labels, valid)
    given = {values.data_ptr() for values in (logits, labels, valid)}
    assert [tuple(values.shape) for values in kept if values.data_ptr() not in given] == [(2, 2, 64)]
