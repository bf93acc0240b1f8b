"""What the study of EAST's score losses trains, and one of its trainings."""

import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from matchloss.criteria import EASTCriterion
from matchloss.evaluation import evaluate_icdar
from matchloss.recipes import launch
from matchloss.recipes.log import read_history
from matchloss.recipes.runs import create_run
from matchloss.recipes.settings import Machine
from matchloss.recipes.text import KIND, TextTask
from matchloss.recipes.text_results import load_trained
from matchloss.recipes.text_settings import Settings

LOSSES: dict[str, dict[str, float | None]] = {
    "balanced": {"score_weight": 1.0, "dice_weight": None},
    "dice": {"score_weight": None, "dice_weight": 1.0},
    "balanced x 20 + dice": {"score_weight": 20.0, "dice_weight": 1.0},
}
"""Weights of the score's terms; the geometry's are the paper's in all runs."""
TAIL = 50
"""Logged steps at the end over which training values are averaged."""


@dataclass(frozen=True)
class Run:
    """One training."""

    loss: str
    seed: int

    @property
    def name(self) -> str:
        """Also the record's file name."""
        return f"{self.loss.replace(' ', '')}-seed{self.seed}"


@dataclass(frozen=True)
class Length:
    """How much of a training a run is; records of another length are not taken for finished ones."""

    steps: int = 450
    crop: int = 192
    batch_size: int = 4
    long_side: int = 960
    score_threshold: float = 0.5


def planned(seeds: int) -> list[Run]:
    """All runs, seed by seed, so that a study cut short has whole seeds."""
    return [Run(loss, seed) for seed in range(seeds) for loss in LOSSES]


class StudyTask(TextTask):
    """The recipe with other weights of the score's terms."""

    def __init__(self, settings: Settings, run: Path, *, weights: dict[str, float | None]) -> None:
        super().__init__(settings, run)
        criterion = EASTCriterion(**weights)
        self.method = self.method._replace(
            loss=lambda outputs, maps: criterion(outputs["score"], outputs["geometry"], maps)
        )

    def pictures(self, model: nn.Module, fabric: object) -> dict[str, Tensor]:
        """None: nobody looks at them here."""
        return {}


def train(run: Run, length: Length, data: Path, out: Path) -> dict[str, Any]:
    """Train, which goes on where it was killed, and return the record."""
    began, folder = time.process_time(), out / "runs" / run.name
    settings = Settings(data=str(data), seed=run.seed, log_every=1, validate_every=length.steps, **asdict(length))
    create_run(folder, settings, KIND)
    launch.train(partial(StudyTask, weights=LOSSES[run.loss]), settings, folder, Machine(accelerator="cpu"))
    return measure(run, folder, settings) | {"cpu_seconds": round(time.process_time() - began, 1)}


@torch.inference_mode()
def measure(run: Run, folder: Path, settings: Settings) -> dict[str, Any]:
    """What the run's last weights find on val, word by word and cell by cell."""
    task = TextTask(settings, folder)
    trained = load_trained(folder, "last")
    found, wrong, background, missed, text = [], 0, 0, 0, 0
    for index in range(len(task.validation)):
        sample = task.validation[index]
        seen = trained.look(sample.image)
        found.append(trained.predict(sample.image))
        size = (seen.fitted.image.shape[1], seen.fitted.image.shape[2])
        maps = task.method.encode([sample.quads * seen.fitted.scale[:2]], [sample.ignore], size)
        said = seen.outputs["score"].sigmoid() > settings.score_threshold
        empty, full = maps.mask & (maps.score == 0), maps.mask & (maps.score == 1)
        wrong, background = wrong + int((said & empty).sum()), background + int(empty.sum())
        missed, text = missed + int((~said & full).sum()), text + int(full.sum())
    truths = [task.validation.truth(index) for index in range(len(task.validation))]
    scores = evaluate_icdar(found, [(truth.quads, truth.ignore) for truth in truths])
    logged = [record["train"] for record in read_history(folder) if "train" in record]
    # The score's terms without their weights, so that losses of any weight compare.
    terms = {"score": "score_weight", "dice": "dice_weight"}
    values = {
        name: [step[name] / LOSSES[run.loss][weight] for step in logged]
        for name, weight in terms.items()
        if name in logged[0]
    }
    return {
        "hmean": scores.hmean,
        "precision": scores.precision,
        "recall": scores.recall,
        "false_words": scores.detections - scores.matched,
        "found_words": scores.detections,
        "false_cells": wrong / background,
        "missed_cells": missed / text,
        "loss": {name: sum(series[-TAIL:]) / len(series[-TAIL:]) for name, series in values.items()},
        "loss_at_start": {name: series[0] for name, series in values.items()},
    }
