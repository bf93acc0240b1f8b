"""Eight images learned by heart: what the models that predict a set reach in ten minutes of processor time.

    python benchmarks/learn_by_heart.py                    # yolos, detr and rtdetr, on bccd
    python benchmarks/learn_by_heart.py --models yolos --data samples/bccd

The recipe's model, criterion, engine and scores; whole images as they are, without augmentation, and scored on the
same ones. Runs stay in runs/by_heart. Writes benchmarks/results/learn_by_heart.json.
"""

import argparse
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from matchloss.bench.provenance import ROOT, provenance
from matchloss.recipes import launch
from matchloss.recipes.augment_boxes import letterbox
from matchloss.recipes.checkpoint import write_json
from matchloss.recipes.data.annotations import Truth
from matchloss.recipes.data.boxes import BoxFolder, BoxSample
from matchloss.recipes.detect import DetectionTask
from matchloss.recipes.detect_settings import SETTINGS, Settings
from matchloss.recipes.log import read_history
from matchloss.recipes.settings import Machine

RUNS = ROOT / "runs" / "by_heart"
RESULTS = ROOT / "benchmarks" / "results" / "learn_by_heart.json"
IMAGES = 8
AIM, MINUTES = 0.9, 10
STEPS = {"yolos": 3200, "detr": 1600, "rtdetr": 600}
LR = 4e-4


@dataclass
class First:
    """The first images of a folder."""

    data: BoxFolder

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, index: int) -> BoxSample:
        return self.data[index]

    def truth(self, index: int) -> Truth:
        return self.data.truth(index)


class ByHeart(DetectionTask):
    """The recipe, but for the images and their augmentation."""

    def __init__(self, settings: Settings, run: Path) -> None:
        super().__init__(settings, run)
        self.few = First(self.training)
        self.validation, self.training_size = self.few, IMAGES

    def sample(self, index: int, rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The whole image in the corner of the canvas, as in validation."""
        sample = self.few[index]
        fitted = letterbox(sample.image, long_side=max(self.size), pixels=self.method.pixels)
        canvas = torch.zeros(3, *self.size)
        canvas[:, : fitted.image.shape[1], : fitted.image.shape[2]] = fitted.image
        return canvas, {"boxes": sample.boxes * fitted.scale, "labels": sample.labels, "ignore": sample.ignore}


def learn(model: str, data: Path) -> dict[str, Any]:
    """One training, and its curve."""
    run = RUNS / model
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir(parents=True)
    settings = SETTINGS[model](
        data=str(data), model=model, steps=STEPS[model], lr=LR, batch_size=2, ema=None, warmup=30, validate_every=100
    )
    launch.train(ByHeart, settings, run, Machine(accelerator="cpu"))
    return summary(run, STEPS[model])


def summary(run: Path, steps: int) -> dict[str, Any]:
    """What a training reached when; one of less than its steps was stopped."""
    scored = [record for record in read_history(run) if "scores" in record]
    curve = [
        {"step": record["step"], "cpu_minutes": round(record["cpu_seconds"] / 60, 2), "ap50": record["scores"]["ap50"]}
        for record in scored
    ]
    reached = [point["cpu_minutes"] for point in curve if point["ap50"] >= AIM]
    return {
        "steps": steps,
        "stopped_after": curve[-1]["step"],
        "best_ap50": max(point["ap50"] for point in curve if point["cpu_minutes"] <= MINUTES),
        "cpu_minutes_to_aim": reached[0] if reached else None,
        "match_changes": [record["scores"]["match_changes"] for record in scored],
        "curve": curve,
    }


def main() -> None:
    """Train each, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "bccd")
    parser.add_argument("--models", nargs="+", choices=list(STEPS), default=list(STEPS))
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text())["models"] if RESULTS.is_file() else {}
    for model in options.models:
        results[model] = learn(model, options.data)
        found = results[model]
        print(
            f"{model:8} AP50 {found['best_ap50']:.3f} in {MINUTES} minutes, {AIM} after {found['cpu_minutes_to_aim']}"
        )
        content = {"data": options.data.name, "images": IMAGES, "aim_ap50": AIM, "minutes": MINUTES, "models": results}
        write_json(RESULTS, provenance() | content)
    print(f"results: {RESULTS}")


if __name__ == "__main__":
    main()
