"""What a detection is trained with, and what suits each model."""

import re
from dataclasses import dataclass

from matchloss.recipes.detect_models import STRIDES
from matchloss.recipes.errors import RunError
from matchloss.recipes.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class Settings(TrainSettings):
    """Stored with the run; the shared part stands in settings.py."""

    data: str  # folder with Pascal VOC, COCO JSON or YOLO txt annotations, and lists of the images of train and val
    format: str = "auto"
    skip_bad: bool = False  # leave bad files out, with a warning, instead of stopping at the first
    model: str = "resnet"  # or yolos, detr, rtdetr: all train from random weights; a Hugging Face model wants a GPU
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


@dataclass(frozen=True, kw_only=True)
class SetSettings(Settings):
    """For models that predict a set: they learn slowly, and more from many small steps than from few large ones.

    At a rate of 7e-4 YOLOS' boxes left the places they begin with before anything was learned about cells.
    """

    size: str = "256x192"
    steps: int = 3000
    batch_size: int = 4
    lr: float = 2e-4
    validate_every: int = 250
    channels_last: bool = False


@dataclass(frozen=True, kw_only=True)
class YolosSettings(SetSettings):
    """An hour of one core: without convolutions, it needs a third of that to beat boxes that never move."""

    steps: int = 12000
    validate_every: int = 500


@dataclass(frozen=True, kw_only=True)
class DetrSettings(SetSettings):
    """A step takes 0.6 seconds of one core, and teaches more than one of YOLOS in 0.3."""

    steps: int = 1500


@dataclass(frozen=True, kw_only=True)
class RTDetrSettings(SetSettings):
    """Queries that are an encoder's proposals find their objects soon, and bear large steps."""

    size: str = "320x256"
    lr: float = 5e-4


SETTINGS: dict[str, type[Settings]] = {"yolos": YolosSettings, "detr": DetrSettings, "rtdetr": RTDetrSettings}
"""Of the models that train from random weights; `Settings` for all others."""

FOR_DENSE = ("head", "preset", "assigner", "class_loss", "box_loss", "nms")
"""What a model that predicts a set has no use for: its criterion is the one of its paper, and nothing is suppressed."""


def canvas(size: str) -> tuple[int, int]:
    """Read "320x256" (width x height) or "320" as (height, width)."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", size)
    if not match:
        raise RunError(f"--size {size!r}: expected WIDTHxHEIGHT, such as 320x256, or one number of pixels")
    width, height = int(match[1]), int(match[2] or match[1])
    if not width or not height or width % STRIDES[-1] or height % STRIDES[-1]:
        raise RunError(f"--size {size}: expected multiples of {STRIDES[-1]}, by which the models shrink an image")
    return height, width
