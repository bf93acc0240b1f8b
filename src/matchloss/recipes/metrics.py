"""Scores of a segmentation over a whole split, from one confusion matrix."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from matchloss.recipes.data import IGNORE_INDEX


def confusion_matrix(prediction: Tensor, truth: Tensor, *, classes: int) -> Tensor:
    """Count pixels, int64 (truth, prediction); ignored ones are left out.

    Sum the matrices of the images before taking scores: a mean of scores of images would weigh an object in an empty
    image more than one among many.
    """
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    matrix: Tensor = multiclass_confusion_matrix(prediction, truth, classes, ignore_index=IGNORE_INDEX)
    return matrix


@dataclass(frozen=True)
class Scores:
    """IoU and Dice of each class; NaN for one that neither the truth nor the prediction has."""

    classes: list[str]
    iou: list[float]
    dice: list[float]

    @property
    def foreground(self) -> list[int]:
        """The classes that count in the mean: all but a first one called background."""
        return list(range(1 if self.classes[0].lower() == "background" else 0, len(self.classes)))

    @property
    def mean_iou(self) -> float:
        """Mean over the foreground classes."""
        return _mean([self.iou[index] for index in self.foreground])

    @property
    def mean_dice(self) -> float:
        """Mean over the foreground classes."""
        return _mean([self.dice[index] for index in self.foreground])


def score(matrix: Tensor, classes: list[str]) -> Scores:
    """Take the scores from a confusion matrix."""
    matrix = matrix.double().cpu()
    both, truth, prediction = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    iou = both / (truth + prediction - both)  # 0 / 0 is the NaN of an absent class
    dice = 2 * both / (truth + prediction)
    return Scores(classes, iou.tolist(), dice.tolist())


def _mean(values: list[float]) -> float:
    present = [value for value in values if not math.isnan(value)]
    return sum(present) / len(present) if present else math.nan


def empty_matrix(classes: int, device: torch.device) -> Tensor:
    """Where to start a sum."""
    return torch.zeros(classes, classes, dtype=torch.int64, device=device)
