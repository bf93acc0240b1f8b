"""Scene text: train a detector of words on a folder of photos with word quads."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from matchloss.evaluation import evaluate_icdar
from matchloss.recipes.augment_words import WordScene, augment_words
from matchloss.recipes.checkpoint import LAST
from matchloss.recipes.data.words import WordFolder, WordFormat
from matchloss.recipes.errors import RunError
from matchloss.recipes.gather import gather_images
from matchloss.recipes.runs import check_free, create_run, main_process, read_settings
from matchloss.recipes.settings import Machine
from matchloss.recipes.synthetic_words import paint_words
from matchloss.recipes.text_inference import Seen, Words, found_words, look_at, pack, unpack
from matchloss.recipes.text_method import choose_method
from matchloss.recipes.text_models import STRIDES, build_text_network
from matchloss.recipes.text_pictures import FOUND, TRUE, draw_words
from matchloss.recipes.text_settings import Settings
from matchloss.types import DBMaps, EASTMaps, LossTerms

if TYPE_CHECKING:
    from lightning_fabric import Fabric  # slow to import, and the command line needs the settings only

KIND = "text"
MODEL = "model"
"""Where a run keeps the architecture of a pretrained model."""
PICTURES = 4
SYNTHETIC_UNTIL = 0.5
"""Part of the training after which only photos are seen."""
ROOM = 1.5
"""Sides of what words are drawn on, in sides of the crop that is taken from it."""


class Batch(NamedTuple):
    """Augmented crops, and the maps to learn."""

    images: Tensor
    maps: EASTMaps | DBMaps


class TextTask:
    """A text detection as the training engine sees it."""

    judged_by = "hmean"

    def __init__(self, settings: Settings, run: Path) -> None:
        self.settings = settings
        self.training, self.validation = open_splits(settings)
        self.training_size = len(self.training)
        self.method = choose_method(settings)
        self.model = build_text_network(
            settings.model, head=settings.head, folder=run / MODEL, pretrained=not (run / LAST).is_file()
        )
        self.memory: dict[str, Tensor] = {}

    def sample(self, index: int, rng: np.random.Generator, step: int) -> WordScene:
        """Read, or draw words on a piece without any, and augment."""
        settings, photo = self.settings, self.training[index]
        size = (settings.crop, settings.crop)
        if rng.random() < synthetic_share(settings, step):
            larger = (round(settings.crop * ROOM), round(settings.crop * ROOM))
            return augment_words(paint_words(photo, rng, size=larger), rng, size=size)
        return augment_words(photo, rng, size=size, long_side=settings.long_side)

    def collate(self, samples: list[WordScene]) -> Batch:
        """Stack crops of one size, and draw the maps of their words."""
        images, quads, ignore = zip(*samples, strict=True)
        stacked = torch.stack(images)
        if self.settings.channels_last:
            stacked = stacked.contiguous(memory_format=torch.channels_last)
        side = self.settings.crop
        return Batch(stacked, self.method.encode(quads, ignore, (side, side)))

    def loss(self, model: nn.Module, batch: Batch) -> LossTerms:
        """Compare maps with maps."""
        return self.method.loss(model(batch.images), batch.maps)

    def validate(self, model: nn.Module, fabric: "Fabric") -> dict[str, float]:
        """Score whole photos; each process looks at every so many-th one, and all get the words of all."""
        truths = [self.validation.truth(index) for index in range(len(self.validation))]
        share = range(fabric.global_rank, len(truths), fabric.world_size)
        found = [self.predict(model, self.validation[index].image) for index in share]
        room = -(-len(truths) // fabric.world_size)
        every = [unpack(rows) for rows in gather_images(pack(found, room), len(truths), fabric)]
        scores = evaluate_icdar(every, [(truth.quads, truth.ignore) for truth in truths])
        return {"hmean": scores.hmean, "precision": scores.precision, "recall": scores.recall}

    def pictures(self, model: nn.Module, fabric: "Fabric") -> dict[str, Tensor]:
        """The first validation photos, truth above prediction."""
        drawn = {}
        for index in range(min(PICTURES, len(self.validation))):
            sample = self.validation[index]
            truth = draw_words(sample.image, sample.quads, ignore=sample.ignore, color=TRUE)
            found = draw_words(sample.image, self.predict(model, sample.image).quads, color=FOUND)
            drawn[sample.name] = torch.cat([truth, found], dim=1)
        return drawn

    def look(self, model: nn.Module, image: Tensor) -> Seen:
        """Put a photo, uint8 (3, H, W), through the model."""
        return look_at(model, image, self.settings.long_side)

    def predict(self, model: nn.Module, image: Tensor) -> Words:
        """Find the words of a photo."""
        return found_words(self.look(model, image), self.method.decode)


def synthetic_share(settings: Settings, step: int) -> float:
    """Chance of words of our own in a training photo: it falls evenly, to nothing at half of the training."""
    return settings.synthetic * max(0.0, 1 - step / (SYNTHETIC_UNTIL * settings.steps))


def train(settings: Settings, run: Path, machine: Machine, *, resume: bool) -> None:
    """Train in the folder `run`; with `resume`, from its last checkpoint on, if it got that far."""
    from matchloss.recipes import launch

    check_settings(settings)
    if main_process() and not resume:
        check_free(run)
    training, validation = open_splits(settings)  # here once, so that a bad folder is told of before there is a run
    if main_process():
        if not resume:
            create_run(run, settings, KIND)
        print(f"train: {training.describe()}\nval:   {validation.describe()}\nrun:   {run}", flush=True)
        for message in training.skipped + validation.skipped:
            print(f"left out: {message}", flush=True)
        warn_of_nothing_to_learn(training)
    launch.train(TextTask, settings, run, machine)


def check_settings(settings: Settings) -> None:
    """Refuse what no model could be trained with."""
    choose_method(settings)
    if settings.crop % STRIDES[-1]:
        raise RunError(f"--crop {settings.crop}: expected a multiple of {STRIDES[-1]}, by which the models shrink")


def warn_of_nothing_to_learn(training: WordFolder) -> None:
    """Where all words are marked unreadable, the published losses stand still at a constant; say so beforehand."""
    readable = sum(int((~training.truth(index).ignore).sum()) for index in range(len(training)))
    if not readable:
        print("warning: no readable word in the training photos: all that can be learned is background", flush=True)


def stored_settings(run: Path) -> Settings:
    """Read what a run was started with."""
    try:
        return Settings(**read_settings(run, KIND))
    except TypeError as error:
        raise RunError(f"{run} is not a text detection of this version of matchloss: {error}") from error


def open_data(settings: Settings, split: str) -> WordFolder:
    """Open a split of the run's data."""
    with warnings.catch_warnings():
        # Each process opens the data; `train` tells once what was left out.
        warnings.filterwarnings("ignore", message=".* samples left out of ", category=UserWarning)
        format = cast(WordFormat, settings.format)  # noqa: A001
        return WordFolder(Path(settings.data), split, format=format, skip_bad=settings.skip_bad)


def open_splits(settings: Settings) -> tuple[WordFolder, WordFolder]:
    """Open the training and the validation photos."""
    return open_data(settings, "train"), open_data(settings, "val")
