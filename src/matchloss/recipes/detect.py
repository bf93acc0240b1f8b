"""Object detection: train a detector on a folder of images with boxes."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from matchloss.criteria import SetCriterion
from matchloss.recipes.augment_boxes import augment_boxes
from matchloss.recipes.box_metrics import Detected, average_precision
from matchloss.recipes.checkpoint import LAST, write_json
from matchloss.recipes.constant_boxes import note_common_boxes
from matchloss.recipes.data.boxes import BoxFolder, BoxSample, Format
from matchloss.recipes.detect_criteria import Composition
from matchloss.recipes.detect_inference import Seen, found_boxes, look_at, pack, unpack
from matchloss.recipes.detect_method import Method, choose_method
from matchloss.recipes.detect_models import build_detector
from matchloss.recipes.detect_pictures import draw_boxes
from matchloss.recipes.detect_settings import SETTINGS, Settings, canvas
from matchloss.recipes.errors import RunError
from matchloss.recipes.gather import gather_images
from matchloss.recipes.match_changes import NO_OBJECT, queries_of_objects, share_changed
from matchloss.recipes.runs import CLASSES, check_free, create_run, main_process, read_classes, read_settings
from matchloss.recipes.set_configs import QUERIES
from matchloss.recipes.set_models import SMALL, build_set_detector, family_of
from matchloss.recipes.settings import Machine
from matchloss.types import LossTerms, Targets

if TYPE_CHECKING:
    from lightning_fabric import Fabric  # slow to import, and the command line needs the settings only

KIND = "detect"
MODEL = "model"
"""Where a run keeps the architecture of a pretrained model."""
PICTURES = 4
SHOWN_FROM = 0.3
"""Score from which a box is drawn; scoring takes all."""


class Batch(NamedTuple):
    """Augmented images and what is on them."""

    images: Tensor
    targets: Targets


class DetectionTask:
    """A detection as the training engine sees it."""

    judged_by = "ap50"

    def __init__(self, settings: Settings, run: Path) -> None:
        self.settings = settings
        self.training, self.validation = open_splits(settings)
        self.training_size = len(self.training)
        self.classes = self.training.classes
        self.size = canvas(settings.size)
        self.method = method_of(settings, len(self.classes), run)
        self.criterion = self.method.criterion
        self.model = build_model(settings, len(self.classes), run, pretrained=not (run / LAST).is_file())
        self.memory: dict[str, Tensor] = {}

    def sample(self, index: int, rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Read and augment."""
        settings, pixels = self.settings, self.method.pixels
        image, boxes, labels, ignore = augment_boxes(
            self.training, index, rng, size=self.size, mosaic=settings.mosaic, turn=settings.turn, pixels=pixels
        )
        return image, {"boxes": boxes, "labels": labels, "ignore": ignore}

    def collate(self, samples: list[tuple[Tensor, dict[str, Tensor]]]) -> Batch:
        """Stack images of one size, and pad their objects to one count."""
        images, objects = zip(*samples, strict=True)
        stacked = torch.stack(images)
        if self.settings.channels_last:
            stacked = stacked.contiguous(memory_format=torch.channels_last)
        return Batch(stacked, Targets.from_list(objects, image_size=self.size))

    def loss(self, model: nn.Module, batch: Batch) -> LossTerms:
        """Match predictions with objects, and compare."""
        terms: LossTerms = self.criterion(model(batch.images, batch.targets), batch.targets)
        return terms

    def validate(self, model: nn.Module, fabric: "Fabric") -> dict[str, float]:
        """Score whole images; each process looks at every so many-th one, and all get the findings of all."""
        truths = [self.validation.truth(index) for index in range(len(self.validation))]
        share = range(fabric.global_rank, len(truths), fabric.world_size)
        room = -(-len(truths) // fabric.world_size)
        most = max(len(truth.labels) for truth in truths)
        found, matched = [], torch.full((room, most), NO_OBJECT)
        for place, index in enumerate(share):
            seen = self.look(model, self.validation[index].image)
            found.append(found_boxes(seen, self.method.decode))
            if isinstance(self.criterion, SetCriterion):
                matched[place] = queries_of_objects(self.criterion, seen, truths[index], most)
        every = [unpack(rows) for rows in gather_images(pack(found, room), len(truths), fabric)]
        scores = average_precision(every, truths, self.classes)
        of_classes = {f"ap50_{name}": value for name, value in zip(self.classes, scores.ap50_by_class, strict=True)}
        return {"ap50": scores.ap50, "ap": scores.ap, "ap75": scores.ap75, **of_classes} | self.compare_matches(
            gather_images(matched, len(truths), fabric)
        )

    def compare_matches(self, matched: Tensor) -> dict[str, float]:
        """How many objects of the validation images have another query than at the last validation."""
        if not isinstance(self.criterion, SetCriterion):
            return {}
        changes = share_changed(self.memory.get("matched"), matched)
        self.memory = {"matched": matched}
        return {"match_changes": changes}

    def pictures(self, model: nn.Module, fabric: "Fabric") -> dict[str, Tensor]:
        """The first validation images, truth beside prediction."""
        drawn = {}
        for index in range(min(PICTURES, len(self.validation))):
            sample = self.validation[index]
            drawn[sample.name] = torch.cat(draw(sample, self.predict(model, sample.image), self.classes), dim=2)
        return drawn

    def look(self, model: nn.Module, image: Tensor) -> Seen:
        """Put an image, uint8 (3, H, W), through the model."""
        return look_at(model, image, max(self.size), self.method.pixels)

    def predict(self, model: nn.Module, image: Tensor) -> Detected:
        """Find the objects of an image."""
        return found_boxes(self.look(model, image), self.method.decode)


def train(settings: Settings, run: Path, machine: Machine, *, resume: bool) -> None:
    """Train in the folder `run`; with `resume`, from its last checkpoint on, if it got that far."""
    from matchloss.recipes import launch

    if main_process() and not resume:
        check_free(run)
    # Read once here, so that a bad folder is told of before there is a run or a process.
    training, validation = open_splits(settings)
    canvas(settings.size)
    method_of(settings, len(training.classes), run)
    if resume and (run / CLASSES).is_file() and read_classes(run) != training.classes:
        raise RunError(f"{settings.data} has the classes {training.classes}, {run} was begun with {read_classes(run)}")
    if main_process():
        if not resume:
            create_run(run, settings, KIND)
            note_common_boxes(run, training)
        write_json(run / CLASSES, training.classes)
        print(f"train: {training.describe()}\nval:   {validation.describe()}\nrun:   {run}", flush=True)
        for message in training.skipped + validation.skipped:
            print(f"left out: {message}", flush=True)
        crowded = sum(len(training.truth(index).labels) > QUERIES for index in range(len(training)))
        if settings.model in SMALL and crowded:
            print(f"note: {crowded} training images have more objects than the {QUERIES} queries of {settings.model}")
    launch.train(DetectionTask, settings, run, machine)


def stored_settings(run: Path) -> Settings:
    """Read what a run was started with."""
    try:
        stored = read_settings(run, KIND)
        return SETTINGS.get(str(stored.get("model")), Settings)(**stored)
    except TypeError as error:
        raise RunError(f"{run} is not a detection of this version of matchloss: {error}") from error


def composition(settings: Settings) -> Composition:
    """Take out what criterion and decoder are made from."""
    return Composition(
        settings.head, settings.preset, settings.assigner, settings.class_loss, settings.box_loss, settings.nms
    )


def method_of(settings: Settings, classes: int, run: Path) -> Method:
    """Tell how the run's model is trained and read."""
    return choose_method(settings.model, family_of(settings.model, run / MODEL), composition(settings), classes)


def build_model(settings: Settings, classes: int, run: Path, *, pretrained: bool) -> nn.Module:
    """Build the run's model; with `pretrained`, download the weights it begins with."""
    name, folder = settings.model, run / MODEL
    family = family_of(name, folder)
    if family is None:
        anchors = composition(settings).anchors
        return build_detector(name, classes=classes, anchors=anchors, folder=folder, pretrained=pretrained)
    size = canvas(settings.size)
    return build_set_detector(name, family, classes=classes, size=size, folder=folder, pretrained=pretrained)


def open_data(settings: Settings, split: str, classes: list[str] | None = None) -> BoxFolder:
    """Open a split of the run's data; `classes` are those of the training, whose numbers the model has learned."""
    with warnings.catch_warnings():
        # Each process opens the data; `train` tells once what was left out.
        warnings.filterwarnings("ignore", message=".* samples left out of ", category=UserWarning)
        format = cast(Format, settings.format)  # noqa: A001
        return BoxFolder(Path(settings.data), split, format=format, skip_bad=settings.skip_bad, classes=classes)


def open_splits(settings: Settings) -> tuple[BoxFolder, BoxFolder]:
    """Open the training and the validation images."""
    training = open_data(settings, "train")
    return training, open_data(settings, "val", training.classes)


def draw(sample: BoxSample, found: Detected, classes: list[str]) -> list[Tensor]:
    """Draw truth and prediction."""
    sure = found.scores >= SHOWN_FROM
    return [
        draw_boxes(sample.image, sample.boxes, sample.labels, classes, ignore=sample.ignore),
        draw_boxes(sample.image, found.boxes[sure], found.labels[sure], classes, scores=found.scores[sure]),
    ]
