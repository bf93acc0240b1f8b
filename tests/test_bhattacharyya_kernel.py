"""The CPU kernel of the Bhattacharyya distance against the plain form: values, gradients, and what chooses it."""

import re
from itertools import product

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

import matchloss
from inputs import generator
from matchloss.geometry import bhattacharyya_distance
from matchloss.geometry.gaussians import SMALLEST_SIDE
from matchloss.losses import probiou_loss
from rotated_pairs import HARD_PAIRS, random_rotated, rotated

pytest.importorskip("numba")

from numba import njit

from matchloss.kernels.bhattacharyya_cpu import _rows, lead_back, measure_pairs

over_modes = pytest.mark.parametrize("mode", ["l1", "l2"])


def plain(boxes: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    leaf = boxes.detach().requires_grad_()
    value = bhattacharyya_distance(leaf, targets)
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), gradient


def check(boxes: Tensor, targets: Tensor) -> None:
    """Values to 3e-6, gradients to 1e-5: of the largest of a pair in its unit, or where terms cancel, of one a side.

    That of the plain form in float64: in float32 it takes the difference of huge numbers for thin boxes, and is lost.
    """
    boxes, targets = boxes.float(), targets.float()
    values, slopes = measure_pairs(boxes, targets)
    gradient = lead_back(slopes, torch.ones(len(boxes)))
    wanted, wanted_gradient = plain(boxes.double(), targets.double())
    torch.testing.assert_close(values.double(), wanted, rtol=3e-6, atol=1e-12)
    lengths = torch.cat([(boxes[:, :2] - targets[:, :2]).abs(), boxes[:, 2:4], targets[:, 2:4]], 1).double()
    unit = torch.where(lengths.amax(1) > 0, lengths.amax(1), 1.0).unsqueeze(1)
    to_unit = torch.cat([unit.expand(-1, 4), torch.ones_like(unit)], 1)
    allowed = 1e-5 * (1 + (wanted_gradient * to_unit).abs().amax(1, keepdim=True)).repeat(1, 5)
    allowed[:, 2:4] += 3e-7 / (boxes[:, 2:4] / unit).clamp(min=SMALLEST_SIDE)
    wrong = ~((gradient - wanted_gradient).mul(to_unit).abs() <= allowed).all(1)
    assert not wrong.any(), (boxes[wrong][0], targets[wrong][0], gradient[wrong][0], wanted_gradient[wrong][0])


def near_pairs(count: int) -> tuple[Tensor, Tensor]:
    targets = random_rotated(count).float()
    return targets + 0.2 * torch.randn(count, 5, generator=generator(1)), targets


def odd_boxes() -> Tensor:
    """Squares, lines, points, negative sides, the higher and the wider; upright, turned, turned far.

    The turns are exact in float32, and no side is just as long as one counts at least.
    """
    return torch.tensor(
        list(product([0.0, 0.5, 10], [0.0, 1], [0.0, -2, 1, 2, 1e-3], [0.0, 1, 2, 1e3], [0.0, 0.25, -9]))
    )


def test_random_pairs() -> None:
    check(random_rotated(5000, 1), random_rotated(5000))
    check(*near_pairs(5000))


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_every_pair_of_odd_boxes(scale: float) -> None:
    boxes = odd_boxes() * torch.tensor([scale] * 4 + [1.0])
    first, second = (index.flatten() for index in torch.meshgrid(*[torch.arange(len(boxes))] * 2, indexing="ij"))
    check(boxes[first], boxes[second])


@pytest.mark.parametrize("name", HARD_PAIRS)
def test_hard_pairs(name: str) -> None:
    first, second, _ = HARD_PAIRS[name]
    check(first.unsqueeze(0), second.unsqueeze(0))
    check(second.unsqueeze(0), first.unsqueeze(0))


@settings(max_examples=100, deadline=None)
@given(pairs=st.lists(st.tuples(rotated(), rotated()), min_size=1, max_size=5))
def test_any_pairs(pairs: list[tuple[Tensor, Tensor]]) -> None:
    boxes, targets = zip(*pairs, strict=True)
    check(torch.stack(boxes), torch.stack(targets))


def test_what_is_not_finite_is_as_in_the_plain_form() -> None:
    boxes, targets = near_pairs(64)
    for bad in (float("nan"), float("inf"), -float("inf")):
        for number in range(5):
            spoilt = boxes.clone()
            spoilt[::2, number] = bad  # among others, as they lie in one register
            for pair in ((spoilt, targets), (boxes, spoilt)):
                values, slopes = measure_pairs(*pair)
                wanted, _ = plain(*pair)
                torch.testing.assert_close(values, wanted, equal_nan=True, rtol=2e-6, atol=0)
                assert slopes[values.isnan()].isnan().any(1).all()


def test_a_compiler_does_several_at_once() -> None:
    """Packed quotients. One branch, or one array more that might overlap, and it gives up in silence."""
    measure_pairs(*near_pairs(8))
    fresh = njit(nogil=True, error_model="numpy")(_rows.py_func)  # code from a cache cannot be looked at
    fresh.compile(_rows.signatures[0])
    (code,) = fresh.inspect_asm().values()
    assert re.search(r"divps|fdiv\s+v\d+\.4s", code)
    assert not re.search("logf|sqrtf", code)


def test_threads_share_the_rows() -> None:
    """Each row is written once, with any number of threads, and rows that do not divide evenly."""
    boxes, targets = near_pairs(30_011)
    alone = measure_pairs(boxes, targets)
    torch.set_num_threads(3)
    try:
        together = measure_pairs(boxes, targets)
    finally:
        torch.set_num_threads(1)
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one, other)
    assert [tensor.shape for tensor in measure_pairs(boxes[:0], targets[:0])] == [(0,), (0, 6)]


@over_modes
def test_the_loss_takes_the_kernel_where_it_may(mode, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, targets = near_pairs(8)
    calls = []
    spy = lambda *given: calls.append(given) or measure_pairs(*given)  # noqa: E731
    monkeypatch.setattr("matchloss.kernels.bhattacharyya_cpu.measure_pairs", spy)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        calls.clear()
        probiou_loss(boxes.to(dtype), targets, mode=mode)
        assert len(calls) == 1, dtype
    calls.clear()
    probiou_loss(boxes.double(), targets, mode=mode)
    probiou_loss(boxes.to("meta"), targets.to("meta"), mode=mode)
    probiou_loss(boxes, targets.clone().requires_grad_(), mode=mode).backward()
    with matchloss.reference():
        probiou_loss(boxes, targets, mode=mode)
    monkeypatch.setattr("matchloss.losses._box_measures.has_numba", lambda: False)
    probiou_loss(boxes, targets, mode=mode)
    assert not calls


def both_paths(loss, boxes: Tensor) -> list[Tensor]:
    """What ``loss`` makes of the boxes, with the kernel and without."""
    with matchloss.reference():
        wanted = loss(boxes.clone().requires_grad_())
    return [loss(boxes.clone().requires_grad_()), wanted]


@over_modes
def test_layout_shape_and_weights_of_the_loss(mode) -> None:
    """Boxes with several leading dimensions, cut from a larger tensor, each with its own weight in the gradient."""
    boxes, targets = near_pairs(24)
    whole = torch.cat([boxes, boxes], 1).view(4, 6, 10).transpose(0, 1)
    weights = torch.rand(6, 4, generator=generator(2))

    def gradient(leaf: Tensor) -> Tensor:
        wanted = targets.view(4, 6, 5).transpose(0, 1)
        value = probiou_loss(leaf[..., 3:8], wanted, mode=mode, weights=weights, reduction="none")
        assert value.shape == (6, 4)
        value.sum().backward(retain_graph=True)
        value.sum().backward()  # once more: nothing that was kept has changed
        assert leaf.grad is not None
        return leaf.grad

    torch.testing.assert_close(*both_paths(gradient, whole), rtol=1e-4, atol=1e-5)


@over_modes
def test_boxes_far_apart_have_a_finite_gradient_in_any_unit(mode) -> None:
    """The slopes of the distance would overflow; those of the loss do not."""
    boxes = torch.tensor([[0.0, 0, 0, 0, 0], [0, 0, 1e-9, 1e-20, 1]]) * 1e-12

    def gradient(leaf: Tensor) -> Tensor:
        targets = torch.tensor([1e-12, 1e-12, 0, 0, 0.0]).expand(2, 5)
        return torch.autograd.grad(probiou_loss(leaf, targets, mode=mode), leaf)[0]

    got, wanted = both_paths(gradient, boxes)
    assert got.isfinite().all()
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-3 * float(wanted.abs().max()))


@over_modes
def test_second_derivatives_are_those_of_the_plain_form(mode) -> None:
    boxes, targets = near_pairs(16)

    def second(leaf: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(probiou_loss(leaf, targets, mode=mode), leaf, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), leaf)[0]

    got, wanted = both_paths(second, boxes)
    assert wanted.any()
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)
