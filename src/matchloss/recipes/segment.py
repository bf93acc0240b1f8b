"""Semantic segmentation: train a model on a folder of images and masks."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from matchloss.criteria import SegmentationCriterion
from matchloss.recipes.augment import augment
from matchloss.recipes.checkpoint import LAST, write_json
from matchloss.recipes.data import Sample, SegmentationFolder
from matchloss.recipes.errors import RunError
from matchloss.recipes.inference import predict_labels
from matchloss.recipes.metrics import confusion_matrix, empty_matrix, score
from matchloss.recipes.models import STRIDE, build_model
from matchloss.recipes.pictures import mistakes, overlay
from matchloss.recipes.runs import CLASSES, check_free, create_run, main_process, read_classes, read_settings
from matchloss.recipes.settings import Machine, TrainSettings
from matchloss.types import LossTerms

if TYPE_CHECKING:
    from lightning_fabric import Fabric  # slow to import, and the command line needs the settings only

KIND = "segment"
PICTURES = 4


@dataclass(frozen=True, kw_only=True)
class Settings(TrainSettings):
    """What a segmentation was trained with; the shared part stands in settings.py."""

    data: str  # folder with images/, labels/ or masks/, train.txt and val.txt
    classes: str | None = None  # a classes.json that says what mask values mean, if the folder has none of its own
    skip_bad: bool = False  # leave bad files out, with a warning, instead of stopping at the first
    model: str = "unet"  # trains from random weights in minutes; segformer, or any Hugging Face name, wants a GPU
    terms: str = "cross_entropy=1,dice=1"  # pixels one by one, and the overlap that is scored in the end
    crop: int = 128  # nuclei are about 20 pixels wide: more images a second teach more than more surroundings
    steps: int = 1500  # eight minutes of CPU time on 200 images of nuclei, whose scores hardly rise after the first 750
    lr: float = 3e-3  # instance norms let a small U-Net bear more than the usual 1e-3
    warmup: int = 50
    turn: bool = True  # flips and quarter turns: right from a microscope or from above, wrong where there is an up


class Batch(NamedTuple):
    """Augmented crops."""

    images: Tensor
    labels: Tensor


class SegmentationTask:
    """A segmentation as the training engine sees it."""

    judged_by = "mean_iou"

    def __init__(self, settings: Settings, run: Path) -> None:
        self.settings = settings
        self.training, self.validation = open_data(settings, "train"), open_data(settings, "val")
        self.training_size = len(self.training)
        self.classes = self.training.classes
        self.criterion = make_criterion(settings.terms)
        self.model = build_model(
            settings.model,
            classes=len(self.classes),
            folder=run / "model",
            pretrained=not (run / LAST).is_file(),
        )
        self.memory: dict[str, Tensor] = {}

    def sample(self, index: int, rng: np.random.Generator, step: int) -> tuple[Tensor, Tensor]:
        """Read and augment."""
        return augment(self.training[index], rng, size=self.settings.crop, turn=self.settings.turn)

    def collate(self, samples: list[tuple[Tensor, Tensor]]) -> Batch:
        """Stack crops of one size."""
        images, labels = zip(*samples, strict=True)
        stacked = torch.stack(images)
        if self.settings.channels_last:
            stacked = stacked.contiguous(memory_format=torch.channels_last)
        return Batch(stacked, torch.stack(labels))

    def loss(self, model: nn.Module, batch: Batch) -> LossTerms:
        """All terms of the criterion, in one pass."""
        terms: LossTerms = self.criterion(model(batch.images), batch.labels)
        return terms

    def validate(self, model: nn.Module, fabric: "Fabric") -> dict[str, float]:
        """Score whole images; each process takes every so many-th one."""
        count = len(self.classes)
        total = empty_matrix(count, fabric.device)
        for index in range(fabric.global_rank, len(self.validation), fabric.world_size):
            sample = self.validation[index]
            prediction = predict_labels(model, sample.image)
            total += confusion_matrix(prediction, sample.labels.to(fabric.device), classes=count)
        scores = score(fabric.all_reduce(total, reduce_op="sum"), self.classes)
        of_classes = {f"iou_{name}": iou for name, iou in zip(self.classes, scores.iou, strict=True)}
        return {"mean_iou": scores.mean_iou, "mean_dice": scores.mean_dice, **of_classes}

    def pictures(self, model: nn.Module, fabric: "Fabric") -> dict[str, Tensor]:
        """The first validation images beside truth, prediction and mistakes."""
        drawn = {}
        for index in range(min(PICTURES, len(self.validation))):
            sample = self.validation[index]
            prediction = predict_labels(model, sample.image).cpu()
            drawn[sample.name] = torch.cat(draw(sample, prediction, self.classes), dim=2)
        return drawn


def train(settings: Settings, run: Path, machine: Machine, *, resume: bool) -> None:
    """Train in the folder `run`; with `resume`, from its last checkpoint on, if it got that far."""
    from matchloss.recipes import launch

    if main_process() and not resume:
        check_free(run)
    # Read once here, so that a bad folder is told of before there is a run or a process.
    training, validation = open_data(settings, "train"), open_data(settings, "val")
    if training.classes != validation.classes:
        raise RunError(f"train has the classes {training.classes}, val has {validation.classes}; expected the same")
    make_criterion(settings.terms)
    if settings.crop % STRIDE:
        raise RunError(f"--crop {settings.crop}: expected a multiple of {STRIDE}, by which the models shrink an image")
    if resume and (run / CLASSES).is_file() and read_classes(run) != training.classes:
        raise RunError(f"{settings.data} has the classes {training.classes}, {run} was begun with {read_classes(run)}")
    if main_process():
        if not resume:
            create_run(run, settings, KIND)
        write_json(run / CLASSES, training.classes)
        print(f"train: {training.describe()}\nval:   {validation.describe()}\nrun:   {run}", flush=True)
        for message in training.skipped + validation.skipped:
            print(f"left out: {message}", flush=True)
    launch.train(SegmentationTask, settings, run, machine)


def stored_settings(run: Path) -> Settings:
    """Read what a run was started with."""
    try:
        return Settings(**read_settings(run, KIND))
    except TypeError as error:
        raise RunError(f"{run} is not a segmentation of this version of matchloss: {error}") from error


def open_data(settings: Settings, split: str) -> SegmentationFolder:
    """Open a split of the run's data."""
    classes = Path(settings.classes) if settings.classes else None
    with warnings.catch_warnings():
        # Each process opens the data; `train` tells once what was left out.
        warnings.filterwarnings("ignore", message=".* samples left out of ", category=UserWarning)
        return SegmentationFolder(Path(settings.data), split, classes=classes, skip_bad=settings.skip_bad)


def make_criterion(terms: str) -> nn.Module:
    """Build the loss from text such as "cross_entropy=1,dice=0.5"."""
    weights = {}
    for part in terms.split(","):
        name, _, number = part.partition("=")
        try:
            weights[name.strip()] = float(number)
        except ValueError:
            raise RunError(f"--terms {terms!r}: expected NAME=WEIGHT, separated by commas, got {part!r}") from None
    try:
        criterion: nn.Module = SegmentationCriterion(weights, activation="softmax")
    except ValueError as error:
        raise RunError(f"--terms {terms!r}: {error}") from error
    return criterion


def draw(sample: Sample, prediction: Tensor, classes: list[str]) -> list[Tensor]:
    """Draw image, truth, prediction and mistakes."""
    image, truth = sample.image, sample.labels
    return [
        image,
        overlay(image, truth, classes),
        overlay(image, prediction, classes),
        mistakes(image, truth, prediction, classes),
    ]
