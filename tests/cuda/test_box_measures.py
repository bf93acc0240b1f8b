"""The IoU family on a GPU against the plain form: values, gradients, and what chooses between the two."""

import pytest
import torch
from torch import Tensor

import matchloss
from inputs import generator
from matchloss.geometry import overlaps
from matchloss.kernels import box_measures_cuda
from matchloss.kernels.box_measures_cuda import measure_pairs
from matchloss.losses import ciou_loss, diou_loss, eiou_loss, giou_loss, iou_loss
from matchloss.losses._box_measures import PLAIN, box_measure

LOSSES = [iou_loss, giou_loss, diou_loss, eiou_loss, ciou_loss]
over_measures = pytest.mark.parametrize("measure", PLAIN)
over_losses = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    """Let the interpreter take many pairs at once."""
    if device == "cpu":
        monkeypatch.setattr(box_measures_cuda, "PAIRS", 1 << 14)


def check(measure: str, boxes: Tensor, targets: Tensor) -> None:
    """Values to 1e-6, gradients to 1e-5: of the largest of a box, or where terms cancel, of one over the hull."""
    boxes, targets = boxes.float().requires_grad_(), targets.float()
    values, slopes = measure_pairs(measure, boxes.detach(), targets)
    pair = overlaps.compare_boxes(boxes, targets)
    wanted = PLAIN[measure](pair)
    (gradient,) = torch.autograd.grad(wanted.sum(), boxes)
    torch.testing.assert_close(values, wanted.detach(), rtol=1e-6, atol=3e-7)
    hull = torch.stack([pair.x.hull, pair.y.hull], 1).detach()
    unit = torch.where(hull == 0, 1.0, hull).repeat(1, 2)
    allowed = 1e-5 * (1 + (gradient * unit).abs().amax(1))
    if measure == "ciou":  # the rounding of an angle, by the length of its arm
        across, down = overlaps.relative_hull(pair)
        arm = torch.maximum(pair.x.size * across, pair.y.size * down).clamp(min=overlaps.SMALLEST_SIDE)
        allowed = allowed + 3e-7 / arm.detach()
    wrong = ~(((slopes - gradient) * unit).abs().amax(1) <= allowed)
    assert not wrong.any(), (boxes[wrong][0], targets[wrong][0], slopes[wrong][0], gradient[wrong][0])


def random_pairs(count: int, device: str) -> tuple[Tensor, Tensor]:
    """Boxes near their targets, and some far away."""
    low, sides, moves, other = torch.rand(4, count, 2, generator=generator(1)).to(device)
    boxes = torch.cat([low + moves - 0.5, low + moves - 0.5 + other], 1)
    return 100 * boxes, 100 * torch.cat([low, low + sides], 1)


@over_measures
def test_random_pairs(measure: str, device: str) -> None:
    """A program and a bit."""
    check(measure, *random_pairs(200, device))


@over_measures
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_every_pair_of_odd_boxes(measure: str, scale: float, device: str, wide: None) -> None:
    """Every box on a small grid: ties, touching, nested, identical, points, lines and inverted ones."""
    ends = scale * torch.tensor([0.0, 1.0, 2.0, 4.0])
    boxes = torch.cartesian_prod(ends, ends[:3], ends, ends[1:]).to(device)
    check(measure, boxes.repeat(len(boxes), 1), boxes.repeat_interleave(len(boxes), 0))


@over_measures
def test_sides_of_very_different_length(measure: str, device: str, wide: None) -> None:
    """Around the side below which the aspect ratio is noise."""
    sides = 10.0 ** torch.arange(-6, 3)
    sizes = torch.cartesian_prod(sides, sides)
    boxes = torch.cat([torch.zeros(len(sizes), 2), sizes], 1).to(device)
    check(measure, boxes.repeat(len(boxes), 1), boxes.repeat_interleave(len(boxes), 0))


@over_measures
def test_a_box_agrees_with_itself_exactly(measure: str, device: str, wide: None) -> None:
    boxes = torch.cat([random_pairs(2000, device)[1], torch.tensor([[3.0, 4.0, 3.0, 4.0]], device=device)])
    values, _ = measure_pairs(measure, boxes, boxes.clone())
    assert (values == 1).all()


@over_measures
def test_what_is_not_finite_is_as_in_the_plain_form(measure: str, device: str) -> None:
    boxes, targets = random_pairs(12, device)
    corners = torch.arange(12, device=device) % 4
    bad = torch.tensor([torch.nan, torch.inf, -torch.inf], device=device).repeat_interleave(4)
    spoilt = boxes.scatter(1, corners.unsqueeze(1), bad.unsqueeze(1))
    for pair in ((spoilt, targets), (boxes, spoilt)):
        values, slopes = measure_pairs(measure, *pair)
        torch.testing.assert_close(values, PLAIN[measure](overlaps.compare_boxes(*pair)), equal_nan=True)
        assert slopes[values.isnan()].isnan().any(1).all()


@over_losses
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_loss_is_that_of_the_plain_form(loss, dtype: torch.dtype, device: str) -> None:
    """Several leading dimensions, cut from a larger tensor, with weights; masked ones are not finite."""
    boxes, targets = random_pairs(24, device)
    boxes[3], targets[5] = torch.nan, torch.inf
    cut = torch.cat([boxes, boxes], 1).to(dtype).view(4, 6, 8).transpose(0, 1)[..., 2:6]
    wanted = targets[:, [2, 3, 0, 1]].view(4, 6, 4).transpose(0, 1)
    mask = (cut.isfinite() & wanted.isfinite()).all(-1)
    weights = torch.rand(6, 4, generator=generator(2)).to(device)
    results = []
    for path in ("kernel", "plain"):
        leaf = cut.detach().requires_grad_()
        with matchloss.reference() if path == "plain" else torch.enable_grad():
            value = loss(leaf, wanted, mask=mask, weights=weights, reduction="none")
        first, second = (torch.autograd.grad(value.sum(), leaf, retain_graph=True)[0] for _ in range(2))
        assert torch.equal(first, second)
        assert first.dtype == dtype
        results.append((value.detach(), first))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=max(1e-5, torch.finfo(dtype).eps), atol=1e-6)
    assert results[0][0].shape == (6, 4)


@over_losses
def test_nothing_and_one(loss, device: str) -> None:
    boxes = torch.zeros(0, 4, device=device, requires_grad=True)
    value = loss(boxes, boxes.detach())
    value.backward()
    assert value == 0
    assert boxes.grad.shape == (0, 4)
    one = torch.tensor([0.0, 0.0, 2.0, 3.0], device=device)
    assert loss(one, one).shape == ()


@over_losses
def test_second_derivatives_are_those_of_the_plain_form(loss, device: str) -> None:
    boxes, targets = random_pairs(16, device)
    results = []
    for path in ("kernel", "plain"):
        leaf = boxes.clone().requires_grad_()
        with matchloss.reference() if path == "plain" else torch.enable_grad():
            value = loss(leaf, targets)
        (gradient,) = torch.autograd.grad(value, leaf, create_graph=True)
        results.append(torch.autograd.grad(gradient.square().sum(), leaf)[0])
    assert results[1].any()
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("loss", [giou_loss, ciou_loss], ids=lambda loss: loss.__name__)
def test_a_compiler_takes_it_whole(loss, device: str) -> None:
    boxes, targets = random_pairs(16, device)
    torch.compiler.reset()
    results = []
    for function in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")):
        leaf = boxes.clone().requires_grad_()
        value = function(leaf, targets)
        results.append((value.detach(), *torch.autograd.grad(value, leaf)))
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted)


@over_losses
def test_the_loss_takes_the_kernel_where_it_may(loss, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    boxes, targets = random_pairs(8, device)
    calls = []
    spy = lambda *given: calls.append(given) or measure_pairs(*given)  # noqa: E731
    monkeypatch.setattr(box_measures_cuda, "measure_pairs", spy)
    for dtype in (torch.float32, torch.float16):
        calls.clear()
        loss(boxes.to(dtype), targets)
        assert len(calls) == 1, dtype
    calls.clear()
    loss(boxes.double(), targets)
    loss(boxes, targets.clone().requires_grad_()).backward()
    with matchloss.reference():
        loss(boxes, targets)
    assert not calls


def test_the_operator_is_declared_as_it_behaves(device: str) -> None:
    boxes, targets = random_pairs(6, device)
    torch.library.opcheck(box_measure, (boxes.requires_grad_(), targets, "ciou"))
