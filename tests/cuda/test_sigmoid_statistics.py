"""Cross entropy and sums of binary maps by the kernel for a GPU against the plain form in float64."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

import matchloss
from host_reads import NoHostReads
from inputs import generator
from matchloss.criteria import SegmentationCriterion
from matchloss.kernels import sigmoid_statistics_cuda
from matchloss.losses._sigmoid_statistics import map_statistics, sigmoid_statistics

SHAPES = ((2, 3, 1100), (3, 2, 5), (1, 1, 1), (0, 2, 4), (2, 2, 0))
TERMS = {"cross_entropy": 1.0, "dice": 0.5, "focal": 2.0, "jaccard": 1.5}


def scene(shape: tuple[int, int, int], device: str, scale: float = 3.0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, soft targets, and what is valid."""
    rng = generator(0)
    logits, targets = scale * torch.randn(shape, generator=rng), torch.rand(shape, generator=rng)
    return logits.to(device), targets.to(device), (torch.rand(shape, generator=rng) < 0.8).to(device)


def slopes(shape: tuple[int, int, int], device: str) -> tuple[Tensor, Tensor]:
    rng = generator(1)
    return torch.randn(shape, generator=rng).to(device), torch.randn((*shape[:2], 2), generator=rng).to(device)


def plain(logits: Tensor, targets: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    with matchloss.reference():
        loss, *sums = sigmoid_statistics(logits, targets, valid)
    return loss, torch.stack(sums, 2)


def gradient(results: tuple[Tensor, ...], logits: Tensor, grads: tuple[Tensor, ...]) -> Tensor:
    wide = [grad.to(result) for grad, result in zip(grads, results, strict=True)]
    return torch.autograd.grad(results, logits, wide, retain_graph=True)[0]


def check(logits: Tensor, targets: Tensor, valid: Tensor | None, bound: float = 1e-5) -> None:
    logits = logits.detach().requires_grad_()
    wide, grads = logits.detach().double().requires_grad_(), slopes(logits.shape, logits.device.type)
    found, expected = map_statistics(logits, targets, valid), plain(wide, targets, valid)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-5, atol=1e-5)
    grad, slope = gradient(found, logits, grads), gradient(expected, wide, grads)
    torch.testing.assert_close(grad.double(), slope, rtol=bound, atol=bound)
    assert grad.dtype == logits.dtype


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_the_plain_form(shape: tuple[int, int, int], device: str) -> None:
    logits, targets, valid = scene(shape, device)
    check(logits, targets, valid)
    check(logits, targets > 0.5, None)


def test_a_program_adds_up_several_tiles(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sigmoid_statistics_cuda, "PROGRAMS_AT_ONCE", 4)
    check(*scene((1, 2, 5000), device))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_read_and_written_as_it_is(dtype: torch.dtype, device: str) -> None:
    logits, targets, valid = scene((2, 3, 200), device)
    check(logits.to(dtype), targets.to(dtype), valid, bound=torch.finfo(dtype).eps)


def test_strides(device: str) -> None:
    logits, targets, valid = scene((2, 3, 90), device)
    last = logits.transpose(1, 2).contiguous().transpose(1, 2)
    check(last, targets[:, :1].expand_as(logits), valid[:1, :, :1].expand_as(logits))
    check(logits[:, :, ::2], last[:, :, 1::2].sigmoid(), valid[:, :, ::2])


def test_both_tails_keep_their_digits(device: str) -> None:
    logits = torch.tensor([-3e38, -90.0, -40.0, 40.0, 90.0, 3e38], device=device).expand(2, 1, 6).clone()
    targets = torch.tensor([0.0, 1.0], device=device)[:, None, None].expand(2, 1, 6)
    loss, _ = map_statistics(logits.requires_grad_(), targets, None)
    (grad,) = torch.autograd.grad(loss.sum(), logits)
    side = 1 - 2 * targets.double()
    wrong = side * logits.detach()
    torch.testing.assert_close(loss.double(), wrong.clamp(min=0) + (-wrong.abs()).exp().log1p(), rtol=1e-5, atol=1e-38)
    torch.testing.assert_close(grad.double(), side * wrong.sigmoid(), rtol=1e-5, atol=1e-38)


def test_masked_broken_values_reach_nothing(device: str) -> None:
    logits, targets, valid = scene((2, 3, 90), device)
    broken = torch.where(valid, logits, torch.nan).requires_grad_()
    results = map_statistics(broken, torch.where(valid, targets, torch.inf), valid)
    assert all(result.isfinite().all() for result in results)
    grad = gradient(results, broken, slopes((2, 3, 90), device))
    assert torch.equal(grad != 0, valid)


def test_again_gives_the_same(device: str) -> None:
    logits, targets, valid = scene((2, 3, 2100), device)
    results, again = (map_statistics(logits.requires_grad_(), targets, valid) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(results, again, strict=True))
    grads = slopes((2, 3, 2100), device)
    assert torch.equal(gradient(results, logits, grads), gradient(results, logits, grads))


def test_second_derivative_is_that_of_the_plain_form(device: str) -> None:
    logits, targets, valid = scene((2, 3, 30), device)
    found = []
    for statistics in (map_statistics, plain):
        x = logits.clone().requires_grad_()
        (grad,) = torch.autograd.grad(statistics(x, targets, valid), x, slopes((2, 3, 30), device), create_graph=True)
        found += torch.autograd.grad(grad.square().sum(), x)
    torch.testing.assert_close(*found)


def test_targets_that_learn_take_the_plain_form(device: str) -> None:
    logits, targets, _ = scene((1, 2, 9), device)
    sigmoid_statistics(logits, targets.requires_grad_(), None).overlap.sum().backward()
    torch.testing.assert_close(targets.grad, logits.sigmoid())


@pytest.mark.parametrize("by_labels", [False, True])
def test_a_criterion_reads_once(by_labels: bool, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    for name in ("read_maps", "write_gradient"):
        kernel = getattr(sigmoid_statistics_cuda, name)
        monkeypatch.setattr(
            sigmoid_statistics_cuda, name, lambda *args, name=name, kernel=kernel: calls.append(name) or kernel(*args)
        )
    criterion = SegmentationCriterion(TERMS, activation="sigmoid")
    logits, targets, valid = scene((2, 3, 120), device)
    maps = targets.argmax(1) - 1 if by_labels else targets > 0.5
    x, y = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    with nullcontext() if by_labels else NoHostReads():  # on the CPU the range of labels is read
        loss = criterion(x, maps, mask=valid).total
        loss.backward()
    assert calls == ["read_maps", "write_gradient"]
    with matchloss.reference():
        expected = criterion(y, maps, mask=valid).total
        expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(x.grad, y.grad)


def test_operators_compile(device: str) -> None:
    logits, targets, valid = scene((2, 3, 20), device)
    compiled = torch.compile(lambda *inputs: sigmoid_statistics(*inputs), fullgraph=True, backend="aot_eager")
    x, y = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    for statistics, z in ((compiled, x), (sigmoid_statistics, y)):
        sum(result.square().sum() for result in statistics(z, targets, valid)).backward()
    assert torch.equal(x.grad, y.grad)
    torch.library.opcheck(map_statistics, (logits.requires_grad_(), targets, valid))
