"""From the names on the command line to assigner, losses and decoder."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Literal, NamedTuple

from torch import Tensor, nn

from matchloss.assigners import ATSSAssigner, MaxIoUAssigner, SimOTAAssigner, TaskAlignedAssigner
from matchloss.criteria import RetinaNetCriterion, TaskAlignedCriterion
from matchloss.losses import (
    AlphaIoULoss,
    BinaryCrossEntropyLoss,
    CIoULoss,
    DIoULoss,
    EIoULoss,
    FocalEIoULoss,
    GIoULoss,
    InnerIoULoss,
    IoULoss,
    L1Loss,
    L2Loss,
    MPDIoULoss,
    NWDLoss,
    QualityFocalLoss,
    ShapeIoULoss,
    SigmoidFocalLoss,
    SIoULoss,
    SmoothL1Loss,
    VarifocalLoss,
    WiseIoULoss,
)
from matchloss.postprocess import decode_retinanet, decode_task_aligned
from matchloss.recipes.detect_inference import MOST, Decode
from matchloss.recipes.detect_models import STRIDES
from matchloss.recipes.errors import RunError
from matchloss.types import Assignment, Detections

NMSName = Literal["iou", "diou"]

HEADS = ("points", "anchors")
NMS = ("iou", "diou")
PRESETS: dict[str, Callable[[int, Sequence[float]], TaskAlignedCriterion]] = {
    "yolov8": TaskAlignedCriterion.yolov8,
    "ppyoloe": TaskAlignedCriterion.ppyoloe,
    "tood": TaskAlignedCriterion.tood,
}
ASSIGNERS: dict[str, Callable[[], Callable[..., Assignment]]] = {
    "tal": TaskAlignedAssigner.yolov8,
    "atss": ATSSAssigner,
    "simota": SimOTAAssigner,
    "max-iou": MaxIoUAssigner,
}
CLASS_LOSSES: dict[str, Callable[[], nn.Module]] = {
    "bce": BinaryCrossEntropyLoss,
    "focal": SigmoidFocalLoss,
    "varifocal": VarifocalLoss,
    "quality": QualityFocalLoss,
}
BOX_LOSSES: dict[str, Callable[[], nn.Module]] = {
    "l1": L1Loss,
    "l2": L2Loss,
    "smooth-l1": SmoothL1Loss,
    "iou": IoULoss,
    "giou": GIoULoss,
    "diou": DIoULoss,
    "ciou": CIoULoss,
    "eiou": EIoULoss,
    "siou": SIoULoss,
    "focal-eiou": FocalEIoULoss,
    "alpha-iou": AlphaIoULoss,
    "wise-iou": WiseIoULoss,
    "mpdiou": MPDIoULoss,
    "inner-iou": InnerIoULoss,
    "shape-iou": ShapeIoULoss,
    "nwd": NWDLoss,
}
ON_ANCHORS = ("atss", "max-iou")
"""Assigners that look at anchors, not at predictions."""

ANCHOR_SCALES = (2.0, 3.0, 4.5)
"""Sides of the anchors in strides: from 16 pixels at stride 8 on, each half as large again as the one before."""
ANCHOR_RATIOS = (0.5, 1.0, 2.0)

SCORE_THRESHOLD = 0.01
"""Below it hardly a box is right; average precision counts what is above."""
IOU_THRESHOLD = 0.6
CANDIDATES = 1000


class Composition(NamedTuple):
    """What a detector is trained with, by name."""

    head: str
    preset: str
    assigner: str
    class_loss: str
    box_loss: str
    nms: str

    @property
    def anchors(self) -> int | None:
        """How many anchors share a place; None for a head on points."""
        return len(ANCHOR_SCALES) * len(ANCHOR_RATIOS) if self.head == "anchors" else None

    def describe(self) -> str:
        """One line for the page."""
        if self.preset != "none":
            return f"{self.preset} as published, NMS by {self.nms}"
        return f"{self.assigner}, class loss {self.class_loss}, box loss {self.box_loss}, NMS by {self.nms}"


def make_criterion(composition: Composition, classes: int) -> TaskAlignedCriterion | RetinaNetCriterion:
    """Put together what predictions are trained with."""
    check(composition)
    if composition.head == "anchors":
        return _on_anchors(composition, classes)
    if composition.preset != "none":
        return PRESETS[composition.preset](classes, STRIDES)
    return _on_points(composition, classes)


def check(composition: Composition) -> None:
    """Refuse names that are unknown, or that do not go together."""
    choices: dict[str, Collection[str]] = {
        "head": HEADS,
        "preset": ("none", *PRESETS),
        "assigner": ASSIGNERS,
        "class_loss": CLASS_LOSSES,
        "box_loss": BOX_LOSSES,
        "nms": NMS,
    }
    for name, value in composition._asdict().items():
        if value not in choices[name]:
            raise RunError(f"--{name.replace('_', '-')} {value}: expected one of {', '.join(choices[name])}")
    if composition.head == "anchors" and composition.preset != "none":
        raise RunError(f"--preset {composition.preset}: expected --head points, got anchors")
    if composition.head == "anchors" and composition.assigner not in ON_ANCHORS:
        raise RunError(f"--head anchors: expected --assigner {' or '.join(ON_ANCHORS)}, got {composition.assigner}")


def _on_points(composition: Composition, classes: int) -> TaskAlignedCriterion:
    # These two losses want the quality of a box as its score, which assigners that look at anchors cannot give.
    by_quality = composition.class_loss in ("varifocal", "quality") and composition.assigner in ON_ANCHORS
    return TaskAlignedCriterion(
        classes,
        STRIDES,
        assigner=ASSIGNERS[composition.assigner](),
        class_loss=CLASS_LOSSES[composition.class_loss](),
        box_loss=BOX_LOSSES[composition.box_loss](),
        scores="iou" if by_quality else "assigned",
    )


def _on_anchors(composition: Composition, classes: int) -> RetinaNetCriterion:
    return RetinaNetCriterion(
        classes,
        STRIDES,
        assigner=ASSIGNERS[composition.assigner](),
        class_loss=CLASS_LOSSES[composition.class_loss](),
        box_loss=BOX_LOSSES[composition.box_loss](),
        scales=ANCHOR_SCALES,
        ratios=ANCHOR_RATIOS,
    )


def make_decoder(composition: Composition) -> Decode:
    """Choose how boxes are read from what the model gives."""
    nms: NMSName = "diou" if composition.nms == "diou" else "iou"
    if composition.head == "anchors":
        return partial(_from_anchors, nms=nms)
    return partial(_from_points, nms=nms)


def _from_points(levels: list[dict[str, Tensor]], size: tuple[int, int], *, nms: NMSName) -> Detections:
    return decode_task_aligned(
        levels,
        STRIDES,
        image_size=size,
        score_threshold=SCORE_THRESHOLD,
        iou_threshold=IOU_THRESHOLD,
        nms=nms,
        max_detections=MOST,
        candidates=CANDIDATES,
    )


def _from_anchors(levels: list[dict[str, Tensor]], size: tuple[int, int], *, nms: NMSName) -> Detections:
    return decode_retinanet(
        levels,
        STRIDES,
        scales=ANCHOR_SCALES,
        ratios=ANCHOR_RATIOS,
        image_size=size,
        score_threshold=SCORE_THRESHOLD,
        iou_threshold=IOU_THRESHOLD,
        nms=nms,
        max_detections=MOST,
        candidates=CANDIDATES,
    )
