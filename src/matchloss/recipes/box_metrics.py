"""Average precision of boxes by COCO's rules, computed by faster-coco-eval."""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

IOU_50, IOU_75 = 0, 5  # places of these thresholds in COCO's row 0.5, 0.55, ..., 0.95
ALL_AREAS, MOST_DETECTIONS = 0, -1


class Detected(NamedTuple):
    """What was found in one image; CPU tensors."""

    boxes: Tensor  # (k, 4), xyxy
    scores: Tensor  # (k,)
    labels: Tensor  # (k,)


class Annotated(Protocol):
    """What is in one image: a `BoxSample` or a `Truth`."""

    @property
    def boxes(self) -> Tensor: ...  # noqa: D102

    @property
    def labels(self) -> Tensor: ...  # noqa: D102

    @property
    def ignore(self) -> Tensor: ...  # noqa: D102


class BoxScores(NamedTuple):
    """From 0 to 1, or NaN where there is no object to find."""

    ap: float  # mean over IoU 0.5, 0.55, ..., 0.95 and over the classes that have objects
    ap50: float
    ap75: float
    ap_by_class: list[float]
    ap50_by_class: list[float]


def average_precision(
    predictions: Sequence[Detected], truths: Sequence[Annotated], classes: Sequence[str]
) -> BoxScores:
    """COCO's AP; the two sequences hold the same images in the same order.

    At most 100 detections of a class in an image count, the surest ones, as COCO has it. What overlaps an ignored box
    of its class is neither right nor wrong. A detection whose box or score is not finite is no detection.
    """
    if len(predictions) != len(truths):
        raise ValueError(f"average_precision: got {len(predictions)} predictions for {len(truths)} images")
    objects = [entry for image, truth in enumerate(truths) for entry in _truth_entries(image, truth, len(classes))]
    found = [entry for image, one in enumerate(predictions) for entry in _detected_entries(image, one, len(classes))]
    if not objects:  # nothing to find
        return BoxScores(math.nan, math.nan, math.nan, [math.nan] * len(classes), [math.nan] * len(classes))
    curves = _precision(objects, found, images=len(truths), classes=len(classes))
    by_threshold = np.where(curves.min(axis=1) < 0, math.nan, curves.mean(axis=1))  # (thresholds, classes)
    return BoxScores(
        ap=_mean(by_threshold),
        ap50=_mean(by_threshold[IOU_50]),
        ap75=_mean(by_threshold[IOU_75]),
        ap_by_class=[_mean(by_threshold[:, label]) for label in range(len(classes))],
        ap50_by_class=[float(value) for value in by_threshold[IOU_50]],
    )


def _precision(
    objects: list[dict[str, object]], found: list[dict[str, object]], *, images: int, classes: int
) -> npt.NDArray[np.float64]:
    """Precision at 101 recalls: (10 thresholds, 101, classes), -1 where a class has no objects."""
    from faster_coco_eval import COCO, COCOeval_faster  # type: ignore[import-untyped]

    def table(entries: list[dict[str, object]]) -> object:
        # Detections too are given in this form: the library's own way in fails, in some versions, when there are none.
        annotations = [{"id": number, **entry} for number, entry in enumerate(entries, 1)]
        pictures = [{"id": index} for index in range(images)]
        categories = [{"id": label, "name": str(label)} for label in range(classes)]
        content = {"images": pictures, "categories": categories, "annotations": annotations}
        return COCO(content, print_function=_say_nothing)

    evaluation = COCOeval_faster(table(objects), table(found), iouType="bbox", print_function=_say_nothing)
    evaluation.evaluate()
    evaluation.accumulate()
    curves: npt.NDArray[np.float64] = np.asarray(evaluation.eval["precision"])[..., ALL_AREAS, MOST_DETECTIONS]
    return curves


def _truth_entries(image: int, truth: Annotated, classes: int) -> list[dict[str, object]]:
    entries = _entries(image, truth.boxes, truth.labels, classes)
    return [{**entry, "iscrowd": int(ignore)} for entry, ignore in zip(entries, truth.ignore.tolist(), strict=True)]


def _detected_entries(image: int, found: Detected, classes: int) -> list[dict[str, object]]:
    finite = found.boxes.isfinite().all(1) & found.scores.isfinite()
    entries = _entries(image, found.boxes[finite], found.labels[finite], classes)
    return [{**entry, "score": score} for entry, score in zip(entries, found.scores[finite].tolist(), strict=True)]


def _entries(image: int, boxes: Tensor, labels: Tensor, classes: int) -> list[dict[str, object]]:
    """What objects and detections have in common."""
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(f"average_precision: labels must lie in 0..{classes - 1}, got {labels.tolist()[:8]}")
    boxes = boxes.double()
    sides = boxes[:, 2:] - boxes[:, :2]
    rows = zip(torch.cat([boxes[:, :2], sides], 1).tolist(), sides.prod(1).tolist(), labels.tolist(), strict=True)
    return [
        {"image_id": image, "category_id": label, "bbox": box, "area": area, "iscrowd": 0} for box, area, label in rows
    ]


def _mean(values: npt.NDArray[np.float64]) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else math.nan


def _say_nothing(*_: object) -> None:
    """The library would log every step."""
