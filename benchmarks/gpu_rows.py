"""What `gpu.py` measures: the rows that floors are known for, then those of `matchloss bench`, one by one."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from matchloss.bench import assigners, criteria, losses, matching
from matchloss.bench.measure import Clock, clock_of
from matchloss.bench.peers import Peers
from matchloss.bench.plans import Plan, all_plans
from matchloss.bench.result import MIB, measure
from matchloss.bench.rows import Row
from matchloss.bench.setting import Setting

ROUNDS, SECONDS = 20, 1.0
COPIED = 2**30
Results = dict[str, Any]


class Task(NamedTuple):
    """A row and the dtype of its predictions."""

    plan: Plan
    dtype: torch.dtype

    @property
    def key(self) -> str:
        """What the results file knows it by."""
        return f"{self.plan.title} {str(self.dtype).removeprefix('torch.')}"


def tasks() -> Iterator[Task]:
    """The most telling ones first: a run that is cut has those."""
    single, half = torch.float32, torch.bfloat16
    for images in (16, 64):
        for dtype in (single, half):
            yield _task(f"sigmoid focal, {images} images", partial(losses.focal, shape=(images, 8400, 80)), dtype)
    for dtype in (single, half):
        make = partial(losses.cross_entropy_and_dice, shape=(4, 19, 512, 512))
        yield _task("cross entropy + Dice, 19 classes", make, dtype)
    yield _task(
        "cross entropy + Dice, 150 classes", partial(losses.cross_entropy_and_dice, shape=(8, 150, 512, 512)), half
    )
    yield _task("GIoU, 100000 pairs", partial(losses.giou, count=100_000))
    yield _task("CIoU, 100000 pairs", partial(losses.ciou, count=100_000))
    for count, queries in ((50, 300), (100, 900), (300, 900)):
        make = partial(matching.solve, problems=112, count=count, queries=queries)
        yield _task(f"assignment alone, {count} x {queries}, 112 problems", make)
    for images, count in ((16, 50), (128, 600)):
        make = partial(assigners.task_aligned, images=images, count=count)
        yield _task(f"task-aligned assignment, {images} images, {count} targets", make)
    yield _task("DETR's costs", partial(matching.detr_cost, layers=7, images=16, queries=900, count=20))
    yield _task("a step of DETR", partial(matching.detr_criterion, layers=6, images=16, queries=300, count=20))
    yield _task("a step of YOLOv8", partial(criteria.yolov8_criterion, images=16, count=20))
    for plan in all_plans():
        yield Task(plan, single)


def _task(title: str, make: Callable[[Setting], Row], dtype: torch.dtype = torch.float32) -> Task:
    return Task(Plan(title, "", make, compiled=dtype == torch.float32 and title.startswith(COMPILED)), dtype)


COMPILED = ("sigmoid focal, 16", "cross entropy", "GIoU", "CIoU")
"""By how a title starts; the compiler takes its seconds, so not all."""


def work(
    path: Path, device: str, *, quick: bool, read: Callable[[Path], Results], write: Callable[[Results], None]
) -> bool:
    """Go on with the results at ``path``, written after every row; say whether the device still works.

    What is begun is noted first: if this process dies of it, the next one leaves it out.
    """
    results = read(path)
    clock = clock_of(device)
    if "copy_gb_per_s" not in results:
        results["copy_gb_per_s"] = round(copy_rate(device, clock, quick=quick), 1)
    for task in tasks():
        if task.key in results["done"] or task.key in results["failures"]:
            continue
        write(results | {"begun": task.key})
        try:
            results["rows"].append(_measured(task, device, clock, results["copy_gb_per_s"], quick=quick))
            results["done"].append(task.key)
        except Exception as error:  # whatever it is, the other rows are worth having
            results["failures"][task.key] = f"{type(error).__name__}: {str(error)[:300]}"
        write(results)
        if not _is_alive(device):
            return False
    return True


def _measured(task: Task, device: str, clock: Clock, rate: float, *, quick: bool) -> Results:
    setting = Setting(device=device, dtype=task.dtype, quick=quick, peers=Peers(wanted=True))
    plan = replace(task.plan, aims=())  # those are of the CPU
    compiled = plan.compiled and not quick
    result = measure(plan, setting, clock, rounds=ROUNDS, seconds=SECONDS, compiled=compiled)
    graph = result["variants"]["matchloss"].get("graph_milliseconds")
    if graph and result["least_mib"]:
        floor = result["least_mib"] * MIB / rate / 1e6  # milliseconds
        result["of_memory_floor"] = round(floor / graph["median"], 3)
    return result


def copy_rate(device: str, clock: Clock, *, quick: bool) -> float:
    """GB/s of a copy within the device's memory, read and written: what the floors are computed with."""
    size = 2**20 if quick else COPIED
    source, target = (torch.empty(size, dtype=torch.int8, device=device) for _ in range(2))
    times = []
    for _ in range(10):
        clock.start()
        target.copy_(source)
        clock.lap()
        times += clock.milliseconds()
    return 2 * size / sorted(times)[len(times) // 2] / 1e6


def _is_alive(device: str) -> bool:
    """An illegal access breaks all that comes after it in the same process."""
    try:
        if device.startswith("cuda"):
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
    except RuntimeError:
        return False
    return True
