"""The focal family on a GPU against the plain form in float64: of labels, summed over classes, and of dense targets."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import matchloss
from inputs import generator
from matchloss.criteria._class_rows import SUMMED_LOSSES, class_rows
from matchloss.losses import (
    SigmoidFocalLoss,
    binary_cross_entropy_loss,
    iou_aware_binary_cross_entropy_loss,
    matchability_aware_loss,
    quality_focal_loss,
    sigmoid_focal_loss,
    varifocal_loss,
)
from matchloss.losses._focal_operators import BLOCK, focal_elements, focal_rows
from matchloss.types import Assignment


class Case(NamedTuple):
    loss: Callable[..., Tensor]
    options: dict[str, Any]


CASES = {
    "cross entropy": Case(binary_cross_entropy_loss, {}),
    "focal": Case(sigmoid_focal_loss, {}),
    "focal without balance": Case(sigmoid_focal_loss, {"alpha": None}),
    "focal, gamma 0": Case(sigmoid_focal_loss, {"gamma": 0.0}),
    "focal, gamma 1": Case(sigmoid_focal_loss, {"gamma": 1.0}),
    "focal, gamma 0.5": Case(sigmoid_focal_loss, {"gamma": 0.5}),
    "quality": Case(quality_focal_loss, {}),
    "quality, beta 1": Case(quality_focal_loss, {"beta": 1.0}),
    "quality, beta 1.5": Case(quality_focal_loss, {"beta": 1.5}),
    "varifocal": Case(varifocal_loss, {}),
    "varifocal, detached": Case(varifocal_loss, {"detach": True, "gamma": 1.5}),
    "varifocal of labels": Case(varifocal_loss, {"positives": "labels", "alpha": None}),
    "matchability": Case(matchability_aware_loss, {"alpha": 0.5}),
    "matchability, not detached": Case(matchability_aware_loss, {"detach": False, "gamma": 2.0}),
    "IoU-aware": Case(iou_aware_binary_cross_entropy_loss, {}),
}
DENSE = [name for name in CASES if name.startswith(("cross", "focal", "quality", "varifocal")) and "labels" not in name]
# The interpreter takes its time, so most laws are tried on one case of each branch of the kernels.
FEW = ["cross entropy", "focal", "focal, gamma 0.5", "quality, beta 1.5", "varifocal, detached", "matchability"]


def over(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [CASES[name] for name in names], ids=names)


def scene(rows: int, classes: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, labels and scores; every third row is background, one is to be ignored and not finite."""
    logits = 4 * torch.randn(rows, classes, generator=generator(1))
    labels = torch.randint(0, classes, (rows,), generator=generator(2))
    scores = torch.rand(rows, generator=generator(3))
    labels[::3], labels[1], logits[1], scores[1], scores[2] = -1, -100, torch.nan, torch.nan, 0
    return logits.to(device), labels.to(device), scores.to(device)


def value_and_gradient(case: Case, logits: Tensor, *given: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    leaf = logits.detach().requires_grad_()
    value = case.loss(leaf, *given, **case.options, **options)
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), gradient


def check(case: Case, logits: Tensor, targets: Tensor, *, scores: Tensor | None = None, **options: Any) -> None:
    """Against the plain form of the same numbers in float64; a gradient may be rounded to the logits' dtype."""
    value, gradient = value_and_gradient(case, logits, targets, scores=scores, **options)
    wide = None if scores is None else scores.double()
    with matchloss.reference():
        wanted = value_and_gradient(case, logits.double(), targets, scores=wide, **options)
    assert value.dtype == torch.float32
    assert gradient.dtype == logits.dtype
    assert gradient.shape == logits.shape
    torch.testing.assert_close(value.double(), wanted[0], rtol=1e-5, atol=1e-7)
    rounding = torch.finfo(logits.dtype)
    atol = 1e-6 * wanted[1].abs().max().item() if wanted[1].numel() else 0.0
    torch.testing.assert_close(
        gradient.double(), wanted[1], rtol=max(1e-5, rounding.eps), atol=max(atol, rounding.tiny * rounding.eps)
    )


@over(*CASES)
def test_labels_with_scores(case: Case, device: str) -> None:
    logits, labels, scores = scene(70, 20, device)
    check(case, logits, labels, scores=scores, reduction="sum")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@over("focal", "varifocal, detached")
def test_half_precision(case: Case, dtype: torch.dtype, device: str) -> None:
    """The scores too; a gradient is rounded once."""
    logits, labels, scores = (part.to(dtype) if part.is_floating_point() else part for part in scene(70, 16, device))
    check(case, logits, labels, scores=scores, reduction="mean")


@over("cross entropy", "varifocal", "IoU-aware")
def test_labels_without_scores(case: Case, device: str) -> None:
    logits, labels, _ = scene(66, 16, device)
    check(case, logits[2:], labels[2:], reduction="mean", ignore_index=None)


@pytest.mark.parametrize("classes", [1, 3, 8, 12, 80, 91])
def test_any_number_of_classes(classes: int, device: str) -> None:
    """Tiles that fit, that are wider than a row, and that do not divide it; rows that do not fill the last program."""
    logits, labels, scores = scene(67, classes, device)
    check(CASES["focal"], logits, labels, scores=scores, reduction="sum")


def dense(device: str) -> tuple[Tensor, Tensor]:
    """More than one block, the last not full; some targets are 0 or 1."""
    logits = 4 * torch.randn(3, BLOCK // 2 - 5, generator=generator(1))
    targets = torch.rand(logits.shape, generator=generator(2)).mul(1.5).sub(0.25).clamp(0, 1)
    return logits.to(device), targets.to(device)


@over(*DENSE)
def test_dense_targets(case: Case, device: str) -> None:
    check(case, *dense(device), reduction="none")


@over("focal", "varifocal")
def test_dense_targets_in_sum(case: Case, device: str) -> None:
    logits, targets = dense(device)
    check(case, logits, targets, reduction="sum")
    check(case, logits.bfloat16(), targets, reduction="mean")


@over(*FEW)
def test_extreme_logits(case: Case, device: str) -> None:
    """Nothing that is finite gives what is not."""
    ends = torch.tensor([0.0, 1e-3, 1.0, 15.0, 30.0, 60.0, 100.0, 1e4, 1e30])
    ends = torch.cat([ends, -ends]).to(device)
    labels = torch.zeros(len(ends), dtype=torch.long, device=device)
    check(case, ends[:, None].flip(0), labels, scores=torch.full_like(ends, 0.3), reduction="sum")
    check(case, ends.expand(3, -1).T.contiguous(), labels - 1, reduction="sum")
    if case.loss is not matchability_aware_loss:
        check(
            case, ends.repeat(3), torch.tensor([0.0, 0.3, 1.0], device=device).repeat_interleave(18), reduction="none"
        )


@over("cross entropy", "focal", "quality, beta 1.5", "varifocal, detached")
def test_both_tails_keep_their_digits(case: Case, device: str) -> None:
    """Of each gradient too, where 1 - p has none left; further out the plain form loses its own in float64."""
    ends = torch.tensor([8.0, 14.0, 17.0, 20.0, 22.0], device=device)
    ends = torch.cat([ends, -ends]).repeat(2)
    targets = torch.tensor([0.0, 1.0], device=device).repeat_interleave(10)
    results = value_and_gradient(case, ends, targets, reduction="none")
    with matchloss.reference():
        wanted = value_and_gradient(case, ends.double(), targets, reduction="none")
    for found, exact in zip(results, wanted, strict=True):
        torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-37)


@over("focal", "quality", "varifocal")
def test_what_is_not_a_number_stays_so(case: Case, device: str) -> None:
    logits, labels, scores = scene(8, 5, device)
    logits[1], scores[1] = 0, 0.5
    assert case.loss(logits, labels, scores=scores, reduction="sum", **case.options).isfinite()
    for tensor, place in ((logits, (3, 1)), (logits, (4, int(labels[4]))), (scores, 4)):
        kept = tensor[place].clone()
        tensor[place] = torch.nan
        assert case.loss(logits, labels, scores=scores, reduction="sum", **case.options).isnan()
        tensor[place] = kept


@over(*FEW)
def test_nothing_there(case: Case, device: str) -> None:
    for shape in ((0, 5), (2, 0, 3), (4, 0)):
        logits = torch.zeros(shape, device=device, requires_grad=True)
        labels = torch.full(shape[:-1], -1, device=device)
        for reduction in ("sum", "mean"):
            value = case.loss(logits, labels, reduction=reduction, **case.options)
            (gradient,) = torch.autograd.grad(value, logits)
            assert gradient.shape == shape
            assert value == 0
    all_ignored = torch.full((3,), -100, device=device)
    assert case.loss(torch.full((3, 4), torch.nan, device=device), all_ignored, **case.options) == 0


def test_layout_and_kind_of_labels(device: str) -> None:
    """Whatever the strides and the integers: the same as of a plain copy."""
    logits, labels, scores = scene(24, 6, device)
    wanted = value_and_gradient(CASES["varifocal"], logits, labels, scores=scores)
    apart = torch.stack([logits, logits], -1)[..., 0].T.contiguous().T
    between = torch.stack([labels, labels], 1)[:, 0], torch.stack([scores, scores], 1)[:, 0]
    found = value_and_gradient(CASES["varifocal"], apart, between[0].int(), scores=between[1])
    assert all(torch.equal(*pair) for pair in zip(found, wanted, strict=True))
    few = labels.clamp(min=0)
    wanted = value_and_gradient(CASES["focal"], logits[2:], few[2:], ignore_index=-100)
    found = value_and_gradient(CASES["focal"], logits[2:], few[2:].to(torch.uint8), ignore_index=-100)
    assert all(torch.equal(*pair) for pair in zip(found, wanted, strict=True))


@over("focal", "varifocal")
def test_a_second_backward_gives_the_same(case: Case, device: str) -> None:
    logits, labels, scores = scene(40, 12, device)
    before = logits.clone()
    leaf = logits.requires_grad_()
    value = case.loss(leaf, labels, scores=scores, **case.options)
    first, second = (torch.autograd.grad(value, leaf, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(value, case.loss(leaf, labels, scores=scores, **case.options))
    torch.testing.assert_close(leaf.detach(), before, rtol=0, atol=0, equal_nan=True)


@over(*FEW, "IoU-aware")
def test_second_derivatives_are_those_of_the_plain_form(case: Case, device: str) -> None:
    logits, labels, scores = scene(12, 6, device)
    targets = torch.rand(12, 6, generator=generator(5)).to(device)
    given = [(labels, scores), (targets, None)]
    for wanted, soft in given:
        results = []
        for path in ("kernel", "plain"):
            leaf = logits.nan_to_num().requires_grad_()
            with matchloss.reference() if path == "plain" else torch.enable_grad():
                value = case.loss(leaf, wanted, scores=soft, reduction="sum", **case.options)
            (gradient,) = torch.autograd.grad(value, leaf, create_graph=True)
            results.append(torch.autograd.grad(gradient.square().sum(), leaf)[0])
        torch.testing.assert_close(*results, rtol=1e-4, atol=1e-6)
        assert results[0].any()


@over("focal", "varifocal", "IoU-aware")
def test_a_compiler_takes_it_whole(case: Case, device: str) -> None:
    logits, labels, scores = scene(20, 6, device)
    loss = lambda leaf, soft: case.loss(leaf, labels, scores=soft, **case.options)  # noqa: E731
    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    results = []
    for function in (loss, compiled):
        leaf = logits.clone().requires_grad_()
        value = function(leaf, scores)
        results.append((value.detach(), *torch.autograd.grad(value, leaf)))
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("module", [loss() for loss in SUMMED_LOSSES], ids=lambda module: type(module).__name__)
def test_criteria_sum_rows_as_they_would_elements(module: torch.nn.Module, device: str) -> None:
    """Rows with gradients of their own, in a batch; what is ignored is not finite."""
    logits, labels, scores = (part.unflatten(0, (3, 8)) for part in scene(24, 6, device))
    ignore = labels == -100
    assignment = Assignment(labels, torch.where(ignore, -1, labels), scores, ignore)
    module.reduction = "none"
    pull = torch.rand(3, 8, generator=generator(6)).to(device)
    results = []
    for path in ("kernel", "plain"):
        leaf = logits.clone().requires_grad_()
        with matchloss.reference() if path == "plain" else torch.enable_grad():
            rows = class_rows(module, leaf, assignment, scores)
        results.append((rows.detach(), *torch.autograd.grad(rows, leaf, pull)))
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_the_kernels_are_taken_where_they_may(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    from matchloss.kernels import focal_elements_cuda, focal_rows_cuda

    calls = []
    for kernels, name in ((focal_rows_cuda, "sum_rows"), (focal_elements_cuda, "take_elements")):
        spy = lambda logits, *_, name=name: calls.append(name) or torch.zeros(logits.shape[:1], device=device)  # noqa: E731
        monkeypatch.setattr(kernels, name, spy)
    logits, labels, scores = scene(8, 5, device)
    for case in CASES.values():
        calls.clear()
        case.loss(logits, labels, **case.options)
        case.loss(logits.bfloat16(), labels, scores=scores, **case.options)
        assert calls == ["sum_rows"] * 2
    calls.clear()
    sigmoid_focal_loss(logits, torch.zeros_like(logits), reduction="none")
    assert calls == ["take_elements"]
    calls.clear()

    class Derived(SigmoidFocalLoss):
        """Whose rows might be something else."""

    assignment = Assignment(labels, labels, scores, labels == -100)
    class_rows(Derived(reduction="none"), logits, assignment, scores)
    with matchloss.reference():
        sigmoid_focal_loss(logits, labels)
    sigmoid_focal_loss(logits.double(), labels)
    sigmoid_focal_loss(logits, labels, scores=scores.clone().requires_grad_())
    sigmoid_focal_loss(logits, torch.zeros_like(logits, requires_grad=True))
    assert not calls


def test_operators_are_declared_as_they_behave(device: str) -> None:
    logits, labels, scores = scene(6, 5, device)
    logits = logits.nan_to_num().requires_grad_()
    torch.library.opcheck(focal_rows, (logits, labels, scores, labels > 0, "varifocal", 0.5, 2.0, False, -100))
    for summed in (True, False):
        targets = torch.rand_like(logits)
        torch.library.opcheck(focal_elements, (logits, targets, "focal", 0.25, 2.0, False, summed))
