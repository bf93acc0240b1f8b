"""A whole step of set prediction without the host: no operator reads data, a GPU does not wait, and a graph holds it.

Sums over masks are made by atomic additions where torch does so: results are compared, not expected bit for bit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import set_scenes as scene
from host_reads import NoHostReads
from matchloss.criteria import SetCriterion, _mask_pixels
from matchloss.types import Targets

PRESETS = ("detr", "yolos", "deformable_detr", "rtdetr")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="waits and graphs are those of a GPU")
over_presets = pytest.mark.parametrize("preset", PRESETS)
over_masks = pytest.mark.parametrize("masks", [False, True])


def criterion_of(preset: str, device: str) -> SetCriterion:
    made: SetCriterion = getattr(SetCriterion, preset)(scene.CLASSES)
    return made.to(device)


def batch(criterion: SetCriterion, seed: int, device: str, *, masks: bool) -> tuple[scene.Outputs, Targets]:
    """A last layer, two auxiliary ones and an encoder's; another seed has other images in the same shapes."""
    channels = scene.CLASSES + (criterion.assigner.class_cost == "softmax")
    found = scene.outputs(channels, masks=masks, seed=seed, dtype=torch.float32)
    targets = scene.mapped(scene.targets(), lambda v: v.float() if v.is_floating_point() else v)
    if not masks:
        targets = targets._replace(masks=None, pixels=None)
    targets = scene.mapped(targets, lambda values: values.roll(seed, 0))
    return scene.mapped(found, lambda v: v.to(device)), scene.mapped(targets, lambda v: v.to(device))


def step(criterion: SetCriterion, found: scene.Outputs, inputs: list[Tensor], targets: Targets) -> list[Tensor]:
    """Every term and stat, and the gradients."""
    loss = criterion(found, targets)
    values = [loss.total, *loss.terms.values(), *loss.stats.values()]
    return [*(value.detach() for value in values), *scene.gradients(loss.total, inputs)]


def tensors(values: Any) -> list[Tensor]:
    """All that are in a structure, in order."""
    found: list[Tensor] = []
    scene.mapped(values, lambda value: found.append(value) or value)
    return found


@pytest.fixture
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here tensors of the interpreter lie on the CPU, where it costs nothing to count rows and to look at labels.

    Under a compiler nobody does so; but then masks would be compared in the plain form.
    """
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    monkeypatch.setattr(_mask_pixels, "use_fast_path", lambda: True)


@over_masks
@over_presets
@pytest.mark.usefixtures("_as_on_a_gpu")
def test_no_operator_reads_data(preset: str, masks: bool, device: str) -> None:
    criterion = criterion_of(preset, device)
    found, targets = batch(criterion, 0, device, masks=masks)
    found, inputs = scene.leaves(found)
    with NoHostReads():
        step(criterion, found, inputs, targets)


@contextmanager
def no_waits() -> Iterator[None]:
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@needs_gpu
@over_masks
@over_presets
def test_no_wait_for_the_device(preset: str, masks: bool, device: str) -> None:
    criterion = criterion_of(preset, device)
    found, targets = batch(criterion, 0, device, masks=masks)
    found, inputs = scene.leaves(found)
    wanted = step(criterion, found, inputs, targets)  # compiles the kernels, for which it may wait
    with no_waits():
        got = step(criterion, found, inputs, targets)
    assert_close(got, wanted)


def captured(criterion: SetCriterion, found: scene.Outputs, inputs: list[Tensor], targets: Targets) -> Any:
    """A graph of the step, and the tensors into which each replay writes."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # compiles the kernels, and lets libraries take their memory
        for _ in range(3):
            step(criterion, found, inputs, targets)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = step(criterion, found, inputs, targets)
    return graph, results


@needs_gpu
@over_masks
@over_presets
def test_a_graph_of_the_step_equals_the_step(preset: str, masks: bool, device: str) -> None:
    criterion = criterion_of(preset, device)
    found, targets = batch(criterion, 0, device, masks=masks)
    found, inputs = scene.leaves(found)
    graph, results = captured(criterion, found, inputs, targets)
    for seed in (1, 2, 0):
        new_found, new_targets = batch(criterion, seed, device, masks=masks)
        with torch.no_grad():
            for static, new in zip(tensors([found, targets]), tensors([new_found, new_targets]), strict=True):
                static.copy_(new)
        graph.replay()
        replayed = [result.clone() for result in results]
        new_found, new_inputs = scene.leaves(new_found)
        assert_close(replayed, step(criterion, new_found, new_inputs, new_targets))
