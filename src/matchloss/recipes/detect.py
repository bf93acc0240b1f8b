"""Object detection: train a detector on a folder of images with boxes."""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from matchloss.recipes.augment_boxes import augment_boxes
from matchloss.recipes.box_metrics import Detected, average_precision
from matchloss.recipes.checkpoint import LAST, write_json
from matchloss.recipes.data.boxes import BoxFolder, BoxSample, Format
from matchloss.recipes.detect_criteria import Composition, make_criterion, make_decoder
from matchloss.recipes.detect_inference import pack, predict_boxes, unpack
from matchloss.recipes.detect_models import STRIDES, build_detector
from matchloss.recipes.detect_pictures import draw_boxes
from matchloss.recipes.errors import RunError
from matchloss.recipes.runs import CLASSES, check_free, create_run, main_process, read_classes, read_settings
from matchloss.recipes.settings import Machine, TrainSettings
from matchloss.types import LossTerms, Targets

if TYPE_CHECKING:
    from lightning_fabric import Fabric  # slow to import, and the command line needs the settings only

KIND = "detect"
PICTURES = 4
SHOWN_FROM = 0.3
"""Score from which a box is drawn; scoring takes all."""


@dataclass(frozen=True, kw_only=True)
class Settings(TrainSettings):
    """What a detection was trained with; the shared part stands in settings.py."""

    data: str  # folder with Pascal VOC, COCO JSON or YOLO txt annotations, and lists of the images of train and val
    format: str = "auto"
    skip_bad: bool = False  # leave bad files out, with a warning, instead of stopping at the first
    model: str = "resnet"  # trains from random weights in minutes; a Hugging Face backbone wants a GPU
    head: str = "points"  # or anchors
    preset: str = "none"  # yolov8, ppyoloe or tood: that criterion as published, in place of the next three
    assigner: str = "tal"  # who is trained on which object
    class_loss: str = "bce"
    box_loss: str = "ciou"
    nms: str = "iou"
    size: str = "320x256"  # width x height that images are fitted into: blood cells stay wider than two strides
    mosaic: float = 0.0  # chance of a training image put together from four
    turn: bool = True  # flips and quarter turns: right from a microscope or from above, wrong where there is an up
    steps: int = 800  # eleven minutes of CPU time on 205 photos of blood cells; their AP hardly rises after 500
    lr: float = 2e-3
    warmup: int = 100
    ema: float | None = 0.998  # the last steps of a cosine hardly move, so the average need not be long
    channels_last: bool = True  # a tenth faster than contiguous, with the group norms and plain convolutions here


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
        self.criterion = make_criterion(composition(settings), len(self.classes))
        self.decode = make_decoder(composition(settings))
        self.model = build_model(settings, len(self.classes), run, pretrained=not (run / LAST).is_file())

    def sample(self, index: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Read and augment."""
        image, boxes, labels, ignore = augment_boxes(
            self.training, index, rng, size=self.size, mosaic=self.settings.mosaic, turn=self.settings.turn
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
        terms: LossTerms = self.criterion(model(batch.images), batch.targets)
        return terms

    def validate(self, model: nn.Module, fabric: "Fabric") -> dict[str, float]:
        """Score whole images; each process looks at every so many-th one, and all get the findings of all."""
        count, processes = len(self.validation), fabric.world_size
        share = range(fabric.global_rank, count, processes)
        found = [self.predict(model, self.validation[index].image) for index in share]
        packed = pack(found, -(-count // processes)).to(fabric.device)
        gathered = fabric.all_gather(packed).reshape(processes, *packed.shape).cpu()
        every = [unpack(gathered[index % processes, index // processes]) for index in range(count)]
        scores = average_precision(every, [self.validation.truth(index) for index in range(count)], self.classes)
        of_classes = {f"ap50_{name}": value for name, value in zip(self.classes, scores.ap50_by_class, strict=True)}
        return {"ap50": scores.ap50, "ap": scores.ap, "ap75": scores.ap75, **of_classes}

    def pictures(self, model: nn.Module, fabric: "Fabric") -> dict[str, Tensor]:
        """The first validation images, truth beside prediction."""
        drawn = {}
        for index in range(min(PICTURES, len(self.validation))):
            sample = self.validation[index]
            drawn[sample.name] = torch.cat(draw(sample, self.predict(model, sample.image), self.classes), dim=2)
        return drawn

    def predict(self, model: nn.Module, image: Tensor) -> Detected:
        """Find the objects of an image, uint8 (3, H, W)."""
        return predict_boxes(model, self.decode, image, max(self.size))


def train(settings: Settings, run: Path, machine: Machine, *, resume: bool) -> None:
    """Train in the folder `run`; with `resume`, from its last checkpoint on, if it got that far."""
    from matchloss.recipes import launch

    if main_process() and not resume:
        check_free(run)
    # Read once here, so that a bad folder is told of before there is a run or a process.
    training, validation = open_splits(settings)
    canvas(settings.size)
    make_criterion(composition(settings), len(training.classes))
    if resume and (run / CLASSES).is_file() and read_classes(run) != training.classes:
        raise RunError(f"{settings.data} has the classes {training.classes}, {run} was begun with {read_classes(run)}")
    if main_process():
        if not resume:
            create_run(run, settings, KIND)
        write_json(run / CLASSES, training.classes)
        print(f"train: {training.describe()}\nval:   {validation.describe()}\nrun:   {run}", flush=True)
        for message in training.skipped + validation.skipped:
            print(f"left out: {message}", flush=True)
    launch.train(DetectionTask, settings, run, machine)


def stored_settings(run: Path) -> Settings:
    """Read what a run was started with."""
    try:
        return Settings(**read_settings(run, KIND))
    except TypeError as error:
        raise RunError(f"{run} is not a detection of this version of matchloss: {error}") from error


def composition(settings: Settings) -> Composition:
    """Take out what criterion and decoder are made from."""
    return Composition(
        settings.head, settings.preset, settings.assigner, settings.class_loss, settings.box_loss, settings.nms
    )


def build_model(settings: Settings, classes: int, run: Path, *, pretrained: bool) -> nn.Module:
    """Build the run's model; with `pretrained`, download the weights it begins with."""
    anchors = composition(settings).anchors
    return build_detector(settings.model, classes=classes, anchors=anchors, folder=run / "model", pretrained=pretrained)


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


def canvas(size: str) -> tuple[int, int]:
    """Read "320x256" (width x height) or "320" as (height, width)."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", size)
    if not match:
        raise RunError(f"--size {size!r}: expected WIDTHxHEIGHT, such as 320x256, or one number of pixels")
    width, height = int(match[1]), int(match[2] or match[1])
    if not width or not height or width % STRIDES[-1] or height % STRIDES[-1]:
        raise RunError(f"--size {size}: expected multiples of {STRIDES[-1]}, by which the models shrink an image")
    return height, width


def draw(sample: BoxSample, found: Detected, classes: list[str]) -> list[Tensor]:
    """Draw truth and prediction."""
    sure = found.scores >= SHOWN_FROM
    return [
        draw_boxes(sample.image, sample.boxes, sample.labels, classes, ignore=sample.ignore),
        draw_boxes(sample.image, found.boxes[sure], found.labels[sure], classes, scores=found.scores[sure]),
    ]
