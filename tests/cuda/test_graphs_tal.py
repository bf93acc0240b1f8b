"""A step of the task-aligned criterion in a CUDA graph, and without a wait for the device; on a GPU alone."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from matchloss.criteria import TaskAlignedCriterion
from matchloss.types import LossTerms, Targets

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="the interpreter has no streams and no graphs")
STRIDES, SIZE, IMAGES, TARGETS, CLASSES = (8, 16, 32), 256, 4, 12, 5
over_presets = pytest.mark.parametrize(("preset", "bins"), [("yolov8", 16), ("ppyoloe", 17), ("tood", 1)])


class Batch(NamedTuple):
    levels: list[dict[str, Tensor]]
    targets: Targets

    def leaves(self) -> list[Tensor]:
        return [maps for level in self.levels for maps in level.values()]

    def tensors(self) -> list[Tensor]:
        return [*self.leaves(), *self.targets[:5]]


class Step(NamedTuple):
    loss: LossTerms
    gradients: tuple[Tensor, ...]


def batch(seed: int, bins: int) -> Batch:
    """Other targets each time, some of them padding or crowds; the last image has none."""
    rng = torch.Generator("cuda").manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=rng, device="cuda")

    levels = []
    for stride in STRIDES:
        cells = SIZE // stride
        logits = (4 * rand(IMAGES, CLASSES, cells, cells) - 3).requires_grad_()
        levels.append({"logits": logits, "distances": (3 * rand(IMAGES, 4 * bins, cells, cells)).requires_grad_()})
    centers, sides = SIZE * rand(IMAGES, TARGETS, 2), 8 + SIZE / 2 * rand(IMAGES, TARGETS, 2)
    valid = rand(IMAGES, TARGETS) < 0.8
    valid[-1] = False
    return Batch(
        levels,
        Targets(
            labels=(CLASSES * rand(IMAGES, TARGETS)).long(),
            boxes=torch.cat([centers - sides / 2, centers + sides / 2], -1),
            valid=valid,
            ignore=valid & (rand(IMAGES, TARGETS) < 0.15),
            weights=torch.ones(IMAGES, TARGETS, device="cuda"),
        ),
    )


def run(criterion: TaskAlignedCriterion, given: Batch) -> Step:
    loss = criterion(given.levels, given.targets)
    return Step(loss, torch.autograd.grad(loss.total, given.leaves()))


def same(got: Step, wanted: Step) -> None:
    for name, term in wanted.loss.terms.items():
        torch.testing.assert_close(got.loss.terms[name], term, msg=lambda text, name=name: f"{name}: {text}")
    for name, value in wanted.loss.stats.items():
        torch.testing.assert_close(got.loss.stats[name], value, msg=lambda text, name=name: f"{name}: {text}")
    for gradient, other in zip(got.gradients, wanted.gradients, strict=True):
        torch.testing.assert_close(gradient, other)


@pytest.fixture
def no_waits() -> Iterator[None]:
    """Turned on by the test, after a first step has compiled and loaded the kernels."""
    yield
    torch.cuda.set_sync_debug_mode("default")


@over_presets
def test_a_captured_step_repeats_with_new_inputs(preset: str, bins: int) -> None:
    criterion = getattr(TaskAlignedCriterion, preset)(CLASSES, STRIDES)
    static = batch(0, bins)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run(criterion, static)  # compiles the kernels, which a capture cannot
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = run(criterion, static)
    for seed in (1, 2):
        given = batch(seed, bins)
        wanted = run(criterion, given)
        with torch.no_grad():
            for place, value in zip(static.tensors(), given.tensors(), strict=True):
                place.copy_(value)
        graph.replay()
        torch.cuda.synchronize()
        same(captured, wanted)
        assert wanted.loss.stats["positives"] > 0
        assert wanted.loss.stats["ignored"] > 0


@over_presets
def test_a_step_waits_for_nothing(preset: str, bins: int, no_waits: None) -> None:
    criterion = getattr(TaskAlignedCriterion, preset)(CLASSES, STRIDES)
    given = batch(3, bins)
    wanted = run(criterion, given)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    got = run(criterion, given)
    torch.cuda.set_sync_debug_mode("default")
    same(got, wanted)


@over_presets
def test_equals_the_step_of_the_cpu(preset: str, bins: int) -> None:
    """Whose matching is another program."""
    criterion = getattr(TaskAlignedCriterion, preset)(CLASSES, STRIDES)
    given = batch(4, bins)
    levels = [{name: maps.detach().cpu().requires_grad_() for name, maps in level.items()} for level in given.levels]
    on_cpu = run(criterion, Batch(levels, Targets(*(value.cpu() for value in given.targets[:5]))))
    got = run(criterion, given)
    for name in ("positives", "starved", "ignored", "targets"):
        assert got.loss.stats[name].item() == on_cpu.loss.stats[name].item(), name
    torch.testing.assert_close(got.loss.total.cpu(), on_cpu.loss.total, rtol=1e-4, atol=1e-5)
