"""What task-aligned assignment and its criterion do on a GPU, seen without one: what they allocate, read and copy.

On the meta device tensors have shapes and no data. The kernels are not started, their launchers are.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

pytest.importorskip("triton")

import dense_scenes as scene
from host_reads import NoHostReads
from matchloss.assigners import TaskAlignedAssigner, _aligned_triton
from matchloss.criteria import TaskAlignedCriterion
from matchloss.kernels import task_aligned_cuda as launchers
from matchloss.types import Targets
from task_aligned_scenes import random_scene

IMAGES, POINTS, TARGETS, PLACES = 64, 33_600, 300, 10


class Allocated(TorchDispatchMode):
    """Bytes of all tensors that operators make, and of the largest."""

    def __init__(self) -> None:
        super().__init__()
        self.total = self.largest = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor._base is None:  # a view holds no memory
                self.total += tensor.nbytes
                self.largest = max(self.largest, tensor.nbytes)
        return result


class NotStarted:
    """In the place of a kernel."""

    def __init__(self) -> None:
        self.grids: list[tuple[int, ...]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return lambda *given, **options: self.grids.append(grid)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[NotStarted]:
    kernels = {name: NotStarted() for name in ("select", "settle", "weigh", "write")}
    for name, kernel in kernels.items():
        monkeypatch.setattr(launchers, name, kernel)
    return list(kernels.values())


def test_memory_is_that_of_points_and_places(started: list[NotStarted]) -> None:
    """Not of targets times points, of which there are 645 million here."""
    empty = {"device": "meta"}
    scores, boxes = torch.empty(IMAGES, POINTS, 80, **empty), torch.empty(IMAGES, POINTS, 4, **empty)
    seen = scores, boxes, torch.empty(POINTS, 2, **empty), None
    marks = torch.empty(IMAGES, TARGETS, dtype=torch.bool, **empty)
    wanted = torch.empty(IMAGES, TARGETS, 4, **empty), torch.empty(IMAGES, TARGETS, dtype=torch.int64, **empty)
    rules = TaskAlignedAssigner.yolov8()
    with Allocated() as allocated:
        owner, ignore = launchers.claim_points(rules, seen, (*wanted, marks, marks))
        launchers.write_scores(rules, seen, (*wanted, marks, marks), owner, ignore)
    # Of a point its target, label and best claim, the number of claims and the soft score, and a mark.
    assert allocated.total == IMAGES * (POINTS * (3 * 8 + 2 * 4 + 1) + TARGETS * (PLACES * 4 + 2 * 4))
    tiles = -(-POINTS // launchers.POINTS_A_TILE)
    assert [kernel.grids for kernel in started] == [[(TARGETS, IMAGES)]] * 2 + [[(tiles, IMAGES)]] * 2


class NoCopies(NoHostReads):
    """Raises at a copy from the host too, for which the host waits."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_dispatch__(func, types, args, kwargs)
        devices = {leaf.device.type for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)}
        moves = func.overloadpacket.__name__ in ("_to_copy", "copy_") and len(devices) > 1
        assert not moves, "a copy from the host"
        return result


class NoLists(TorchFunctionMode):
    """Raises at a tensor made of numbers, which are copied from the host."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in (torch.tensor, torch.as_tensor, Tensor.new_tensor), "a copy from the host"
        return func(*args, **(kwargs or {}))


@contextmanager
def no_waits() -> Iterator[None]:
    with NoCopies(), NoLists():
        yield


def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the way of the kernels, whose operators know the shapes of their results."""
    for name, module in list(sys.modules.items()):
        if name.startswith("matchloss.") and hasattr(module, "use_triton"):
            monkeypatch.setattr(module, "use_triton", lambda values: True)


@pytest.mark.parametrize("preset", ["yolov8", "ppyoloe", "tood"])
def test_a_step_neither_reads_nor_copies(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    criterion = getattr(TaskAlignedCriterion, preset)(scene.CLASSES, scene.STRIDES)
    outputs = scene.levels(width=4 if preset == "tood" else 4 * scene.BINS)
    on_meta = scene.leaves(
        [{name: maps.to("meta") for name, maps in level.items()} for level in outputs], torch.float32
    )
    targets = Targets(*(value.to("meta") for value in scene.targets(dtype=torch.float32)[:5]))
    as_on_a_gpu(monkeypatch)
    with no_waits():
        scene.gradients(criterion(on_meta, targets).total, on_meta)


def test_copies_would_be_seen() -> None:
    with pytest.raises(AssertionError, match="from the host"), no_waits():
        torch.tensor([1.0, 2.0], device="meta")
    host = torch.zeros(2)
    with pytest.raises(AssertionError, match="from the host"), no_waits():
        host.to("meta")


@pytest.mark.parametrize("rules", [{"min_points": 2, "second_topk": 3}, {"reach": 3.0}])
def test_no_option_reads_or_copies(rules: dict[str, Any], started: list[NotStarted], monkeypatch) -> None:
    """Also what the operator does around its kernels."""
    scores, boxes, points, targets, strides = random_scene(0)
    moved = Targets(*(value.to("meta") for value in targets[:5]))
    *given, steps = (value.to("meta") for value in (scores, boxes, points, strides))
    as_on_a_gpu(monkeypatch)
    monkeypatch.setattr(_aligned_triton, "task_aligned", _aligned_triton.task_aligned._init_fn)
    with no_waits():
        result = TaskAlignedAssigner(**rules)(*given, moved, strides=steps)
    assert [tuple(value.shape) for value in result] == [tuple(boxes.shape[:2])] * 4
    assert all(len(kernel.grids) == 1 for kernel in started)
