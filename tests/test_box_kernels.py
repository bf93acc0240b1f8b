"""The CPU kernel of the IoU family against the plain form: values, gradients, and what chooses between the two."""

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

import matchloss
from inputs import generator
from matchloss.geometry import overlaps
from matchloss.losses import ciou_loss, diou_loss, eiou_loss, giou_loss, iou_loss

pytest.importorskip("numba")

from matchloss.kernels.box_measures_cpu import KERNELS, measure_pairs

PLAIN = {name: getattr(overlaps, f"box_{name}") for name in KERNELS}
LOSSES = [iou_loss, giou_loss, diou_loss, eiou_loss, ciou_loss]
over_measures = pytest.mark.parametrize("measure", KERNELS)
over_losses = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)


def check(measure: str, boxes: Tensor, targets: Tensor) -> None:
    """Values to 1e-6, gradients to 1e-5: of the largest of a box, or where terms cancel, of one over the hull."""
    boxes, targets = boxes.float().requires_grad_(), targets.float()
    values, slopes = measure_pairs(measure, boxes, targets)
    wanted = PLAIN[measure](boxes, targets)
    (gradient,) = torch.autograd.grad(wanted.sum(), boxes)
    torch.testing.assert_close(values, wanted.detach(), rtol=1e-6, atol=3e-7)
    pair = overlaps.compare_boxes(boxes.detach(), targets)
    hull = torch.stack([pair.x.hull, pair.y.hull], 1)
    unit = torch.where(hull == 0, 1.0, hull).repeat(1, 2)
    allowed = 1e-5 * (1 + (gradient * unit).abs().amax(1))
    if measure == "ciou":  # the rounding of an angle, by the length of its arm
        wide, high = overlaps.relative_hull(pair)
        arm = torch.maximum(pair.x.size * wide, pair.y.size * high).clamp(min=overlaps.SMALLEST_SIDE)
        allowed = allowed + 3e-7 / arm
    wrong = ~(((slopes - gradient) * unit).abs().amax(1) <= allowed)
    assert not wrong.any(), (boxes[wrong][0], targets[wrong][0], slopes[wrong][0], gradient[wrong][0])


def random_pairs(count: int) -> tuple[Tensor, Tensor]:
    """Boxes near their targets, and some far away."""
    low, sides, moves, other = torch.rand(4, count, 2, generator=generator(1))
    boxes = torch.cat([low + moves - 0.5, low + moves - 0.5 + other], 1)
    return 100 * boxes, 100 * torch.cat([low, low + sides], 1)


def odd_boxes() -> Tensor:
    """Every box on a small grid: ties, touching, nested, identical, points, lines and inverted ones."""
    ends = torch.tensor([0.0, 1.0, 2.0, 4.0])
    return torch.cartesian_prod(ends, ends[:3], ends, ends[1:])


@over_measures
def test_random_pairs(measure: str) -> None:
    check(measure, *random_pairs(5000))


@over_measures
@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_every_pair_of_odd_boxes(measure: str, scale: float) -> None:
    boxes = odd_boxes()
    first, second = (index.flatten() for index in torch.meshgrid(*[torch.arange(len(boxes))] * 2, indexing="ij"))
    check(measure, scale * boxes[first], scale * boxes[second])


@over_measures
def test_sides_of_very_different_length(measure: str) -> None:
    """Around the side below which the aspect ratio is noise."""
    sides = 10.0 ** torch.arange(-6, 3)
    sizes = torch.cartesian_prod(sides, sides)
    count = len(sizes)
    boxes = torch.cat([torch.zeros(count, 2), sizes], 1)
    check(measure, boxes.repeat(count, 1), boxes.repeat_interleave(count, 0))


@over_measures
def test_what_is_not_finite_is_as_in_the_plain_form(measure: str) -> None:
    boxes, targets = random_pairs(64)
    for bad in (float("nan"), float("inf"), -float("inf")):
        for corner in range(4):
            spoilt = boxes.clone()
            spoilt[:, corner] = bad
            for pair in ((spoilt, targets), (boxes, spoilt)):
                wanted = PLAIN[measure](*pair)
                values, slopes = measure_pairs(measure, *pair)
                torch.testing.assert_close(values, wanted, equal_nan=True)
                assert slopes[values.isnan()].isnan().any(1).all()


# Ties, large and small ones; no side so short that an area underflows, where the plain form too has no gradient.
NUMBERS = st.one_of(
    *(st.integers(-n, n).map(lambda k, step=step: k * step) for n, step in ((3, 1.0), (2**19, 2**-6), (999, 2**-20)))
)


@over_measures
@settings(max_examples=100, deadline=None)
@given(numbers=st.lists(st.tuples(*[NUMBERS] * 8), min_size=1, max_size=5))
def test_any_pairs(measure: str, numbers: list[tuple[float, ...]]) -> None:
    pairs = torch.tensor(numbers)
    check(measure, pairs[:, :4], pairs[:, 4:])


@over_measures
def test_threads_share_the_rows(measure: str) -> None:
    """Each row is written once, with any number of threads, and rows that do not divide evenly."""
    boxes, targets = random_pairs(30_011)
    alone = measure_pairs(measure, boxes, targets)
    torch.set_num_threads(3)
    try:
        together = measure_pairs(measure, boxes, targets)
    finally:
        torch.set_num_threads(1)
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one, other)
    assert [len(tensor) for tensor in measure_pairs(measure, boxes[:0], targets[:0])] == [0, 0]


@over_losses
def test_the_loss_takes_the_kernel_where_it_may(loss, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, targets = random_pairs(8)
    calls = []
    spy = lambda *given: calls.append(given) or measure_pairs(*given)  # noqa: E731
    monkeypatch.setattr("matchloss.kernels.box_measures_cpu.measure_pairs", spy)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        calls.clear()
        loss(boxes.to(dtype), targets)
        assert len(calls) == 1, dtype
    calls.clear()
    loss(boxes.double(), targets)
    loss(boxes.to("meta"), targets.to("meta"))
    loss(boxes, targets.clone().requires_grad_()).backward()
    with matchloss.reference():
        loss(boxes, targets)
    monkeypatch.setattr("matchloss.losses._box_measures.has_numba", lambda: False)
    loss(boxes, targets)
    assert not calls


@over_losses
def test_layout_shape_and_weights_of_the_loss(loss) -> None:
    """Boxes with several leading dimensions, cut from a larger tensor, each with its own weight in the gradient."""
    boxes, targets = random_pairs(24)
    whole = torch.cat([boxes, boxes], 1).view(4, 6, 8).transpose(0, 1)
    cut, wanted_targets = whole[..., 2:6], targets.view(4, 6, 4).transpose(0, 1)
    weights = torch.rand(6, 4, generator=generator(2))
    results = {}
    for path in ("fast", "plain"):
        leaf = cut.detach().requires_grad_()
        with matchloss.reference() if path == "plain" else torch.enable_grad():
            value = loss(leaf, wanted_targets, weights=weights, reduction="none")
            (gradient,) = torch.autograd.grad(value.sum(), leaf)
        results[path] = value.detach(), gradient
    torch.testing.assert_close(results["fast"], results["plain"], rtol=1e-5, atol=1e-6)
    assert results["fast"][0].shape == (6, 4)


@over_losses
def test_second_derivatives_are_those_of_the_plain_form(loss) -> None:
    boxes, targets = random_pairs(16)
    results = []
    for path in ("fast", "plain"):
        leaf = boxes.clone().requires_grad_()
        with matchloss.reference() if path == "plain" else torch.enable_grad():
            (gradient,) = torch.autograd.grad(loss(leaf, targets), leaf, create_graph=True)
            (second,) = torch.autograd.grad(gradient.square().sum(), leaf)
        results.append(second)
    assert results[1].any()
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-8)
