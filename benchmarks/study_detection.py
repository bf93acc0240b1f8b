"""One detector, the same images and seeds, trained by our criterion and by Ultralytics' assigner and loss.

    python benchmarks/study_detection.py                       # needs what `make peers` installs, and bccd
    python benchmarks/study_detection.py --seeds 5 --steps 1000

Goes on where it stopped: each finished run is kept in runs/study_detection. Writes
benchmarks/results/study_detection.json. Their loss is called as it is installed, on the same maps of the same model.
"""

import argparse
import json
import statistics
import time
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from matchloss.bench.provenance import ROOT, provenance
from matchloss.criteria import TaskAlignedCriterion
from matchloss.recipes import launch
from matchloss.recipes.checkpoint import write_json
from matchloss.recipes.detect import Batch, DetectionTask, Settings
from matchloss.recipes.detect_models import BINS, STRIDES
from matchloss.recipes.settings import Machine
from matchloss.types import LossTerms, Targets

RUNS = ROOT / "runs" / "study_detection"
RESULTS = ROOT / "benchmarks" / "results" / "study_detection.json"
WHOSE = ("matchloss", "ultralytics")
TIMED_STEPS = 30


class TheirLoss(nn.Module):
    """Ultralytics' assigner and loss behind the face of our criterion."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        from ultralytics.utils.loss import v8DetectionLoss

        head = nn.Conv2d(1, 1, 1)  # stands for the head of their model, of which the loss reads these numbers
        head.stride = torch.tensor([float(stride) for stride in STRIDES])
        head.nc, head.reg_max, head.no = classes, BINS, classes + 4 * BINS
        model = nn.Sequential(head)
        model.model, model.args = [head], SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)
        self.loss = v8DetectionLoss(model)

    def forward(self, levels: list[dict[str, Tensor]], targets: Targets) -> LossTerms:
        """Their terms, before they multiply by the batch size."""
        images = len(targets.labels)
        outputs = {
            "feats": [torch.cat([level["distances"], level["logits"]], 1) for level in levels],
            "boxes": torch.cat([level["distances"].flatten(2) for level in levels], 2),
            "scores": torch.cat([level["logits"].flatten(2) for level in levels], 2),
        }
        total, terms = self.loss(outputs, their_targets(targets))
        return LossTerms(total.sum() / images, dict(terms), {})


def their_targets(targets: Targets) -> dict[str, Tensor]:
    """One row an object; crowds, which they do not know, are left out."""
    height, width = targets.image_size or (1, 1)
    x1, y1, x2, y2 = targets.boxes.unbind(-1)
    boxes = torch.stack([(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height], -1)
    real = targets.valid & ~targets.ignore
    image = torch.arange(len(real)).unsqueeze(1).expand_as(real)
    return {"batch_idx": image[real].float(), "cls": targets.labels[real].float()[:, None], "bboxes": boxes[real]}


class OurTask(DetectionTask):
    """The recipe with the preset whose formulas are Ultralytics'."""

    def __init__(self, settings: Settings, run: Path) -> None:
        super().__init__(settings, run)
        self.criterion = TaskAlignedCriterion.yolov8(len(self.classes), STRIDES)


class TheirTask(DetectionTask):
    """The recipe with their loss."""

    def __init__(self, settings: Settings, run: Path) -> None:
        super().__init__(settings, run)
        self.criterion = TheirLoss(len(self.classes))


TASKS = {"matchloss": OurTask, "ultralytics": TheirTask}


def train(whose: str, settings: Settings) -> dict[str, Any]:
    """One training, or its record from an earlier call."""
    run = RUNS / f"{whose}-{settings.size}-{settings.steps}-seed{settings.seed}"
    record = run / "record.json"
    if not record.is_file():
        run.mkdir(parents=True, exist_ok=True)
        launch.train(TASKS[whose], settings, run, Machine(accelerator="cpu"))
        lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
        scores = {line["step"]: line["scores"] for line in lines if "scores" in line}
        write_json(record, {"whose": whose, "seed": settings.seed, "scores": scores[max(scores)]})
    content: dict[str, Any] = json.loads(record.read_text())
    return content


def time_steps(settings: Settings) -> dict[str, Any]:
    """Whole steps and losses alone, taking turns on one model and one list of batches."""
    tasks = {whose: TASKS[whose](settings, RUNS / "timing") for whose in WHOSE}
    task = tasks["matchloss"]
    model = task.model.to(memory_format=torch.channels_last if settings.channels_last else torch.contiguous_format)
    rng = np.random.default_rng(0)
    times: dict[str, dict[str, list[float]]] = {whose: {"step": [], "loss": []} for whose in WHOSE}
    for number in range(TIMED_STEPS):
        samples = [
            task.sample(int(index), rng, number) for index in rng.integers(0, task.training_size, settings.batch_size)
        ]
        batch = task.collate(samples)
        for whose in WHOSE if number % 2 else reversed(WHOSE):
            step, loss = one_step(model, tasks[whose].criterion, batch)
            if number >= 5:  # the first ones compile and warm up
                times[whose]["step"].append(step)
                times[whose]["loss"].append(loss)
    ratios = {
        part: statistics.median(
            theirs / ours for ours, theirs in zip(times["matchloss"][part], times["ultralytics"][part], strict=True)
        )
        for part in ("step", "loss")
    }
    medians = {
        whose: {part: statistics.median(values) for part, values in parts.items()} for whose, parts in times.items()
    }
    return {"seconds": medians, "times_as_fast": ratios}


def one_step(model: nn.Module, criterion: nn.Module, batch: Batch) -> tuple[float, float]:
    """Seconds of forward, loss and backward, and of the loss with its backward to the model's outputs."""
    model.zero_grad()
    begin = time.perf_counter()
    levels = model(batch.images)
    before_loss = time.perf_counter()
    outputs = [{name: maps.detach().requires_grad_() for name, maps in level.items()} for level in levels]
    criterion(outputs, batch.targets).total.backward()
    after_loss = time.perf_counter()
    maps = [maps for level in levels for maps in level.values()]
    torch.autograd.backward(maps, [maps.grad for level in outputs for maps in level.values()])
    return time.perf_counter() - begin, after_loss - before_loss


def main() -> None:
    """Train, time, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "bccd")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--size", default="192x160", help="small, so that a run takes minutes")
    options = parser.parse_args()
    settings = Settings(
        data=str(options.data), size=options.size, steps=options.steps, validate_every=options.steps, preset="yolov8"
    )
    timing = time_steps(settings)
    runs = []
    for seed in range(options.seeds):
        for whose in WHOSE:
            runs.append(train(whose, Settings(**{**asdict(settings), "seed": seed})))
            print(
                f"{whose:12} seed {seed}  AP50 {runs[-1]['scores']['ap50']:.3f}  AP {runs[-1]['scores']['ap']:.3f}",
                flush=True,
            )
    content = {"data": options.data.name, "size": options.size, "steps": options.steps, "timing": timing, "runs": runs}
    write_json(RESULTS, provenance() | content)
    print(f"times as fast: step {timing['times_as_fast']['step']:.2f}, loss {timing['times_as_fast']['loss']:.2f}")
    print(f"results: {RESULTS}")


if __name__ == "__main__":
    main()
