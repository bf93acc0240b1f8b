"""The best one can do without looking: the same boxes in every image, those that are common in the training images."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from matchloss.recipes.box_metrics import BoxScores, Detected, average_precision
from matchloss.recipes.checkpoint import write_json
from matchloss.recipes.data.boxes import BoxFolder

COMMON = "common_boxes.json"
MOST = 100
"""Boxes an image, as many as detections count."""
ROUNDS = 20


def score_constant_boxes(run: Path, data: BoxFolder) -> BoxScores | None:
    """Average precision of the common boxes that a run has noted, in other images; None for a run that has none."""
    try:
        stored = json.loads((run / COMMON).read_text())
        common = Detected(torch.tensor(stored["boxes"]), torch.tensor(stored["scores"]), torch.tensor(stored["labels"]))
    except (OSError, ValueError, KeyError):
        return None
    found = []
    for index in range(len(data)):
        height, width = data.image_size(index)
        boxes = common.boxes.reshape(-1, 4) * torch.tensor([width, height, width, height])
        found.append(common._replace(boxes=boxes, labels=common.labels.long()))
    truths = [data.truth(index) for index in range(len(data))]
    return average_precision(found, truths, data.classes)


def note_common_boxes(run: Path, data: BoxFolder) -> None:
    """Write them down beside a run, for it may be scored where its training images are not."""
    boxes, scores, labels = common_boxes(data)
    write_json(run / COMMON, {"boxes": boxes.tolist(), "scores": scores.tolist(), "labels": labels.tolist()})


def common_boxes(data: BoxFolder) -> Detected:
    """Means of clusters of the boxes of each class, in fractions of the image, the most common first.

    A class has as many of the `MOST` clusters as it has of the boxes, and one at least; the score of a cluster is how
    many of its boxes there are for each image.
    """
    boxes, labels = _all_boxes(data)
    centers, scores, kinds = [boxes[:0]], [], []
    for label in range(len(data.classes)):
        own = boxes[labels == label]
        if not len(own):
            continue
        found, counts = _clusters(own, min(len(own), max(1, MOST * len(own) // len(boxes))))
        centers.append(found)
        scores += [count / len(data) for count in counts.tolist()]
        kinds += [label] * len(found)
    ranked = torch.tensor(scores).argsort(descending=True, stable=True)[:MOST]
    return Detected(torch.cat(centers)[ranked], torch.tensor(scores)[ranked], torch.tensor(kinds)[ranked])


def _all_boxes(data: BoxFolder) -> tuple[Tensor, Tensor]:
    """Boxes (n, 4) in fractions of their images, and labels (n,); ignored ones are left out."""
    boxes, labels = [torch.zeros(0, 4)], [torch.zeros(0, dtype=torch.int64)]
    for index in range(len(data)):
        truth, (height, width) = data.truth(index), data.image_size(index)
        boxes.append(truth.boxes[~truth.ignore] / torch.tensor([width, height, width, height]))
        labels.append(truth.labels[~truth.ignore])
    return torch.cat(boxes), torch.cat(labels)


def _clusters(boxes: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """k-means of boxes by their corners, begun from boxes drawn with a fixed seed: means (k, 4) and sizes (k,)."""
    means = boxes[torch.from_numpy(np.random.default_rng(0).permutation(len(boxes))[:count])]
    for _ in range(ROUNDS):
        owner = torch.cdist(boxes, means).argmin(1)
        sizes = torch.bincount(owner, minlength=count)
        sums = torch.zeros_like(means).index_add(0, owner, boxes)
        means = torch.where(sizes[:, None] > 0, sums / sizes.clamp(min=1)[:, None], means)
    return means[sizes > 0], sizes[sizes > 0]
