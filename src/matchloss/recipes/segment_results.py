"""What a trained segmentation is worth: scores on a split, pictures, and the run's page."""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from matchloss.recipes.checkpoint import load_checkpoint, trained_weights, write_atomically, write_json
from matchloss.recipes.data import SegmentationFolder
from matchloss.recipes.data.pixels import read_image
from matchloss.recipes.errors import RunError
from matchloss.recipes.inference import predict_labels
from matchloss.recipes.metrics import Scores, confusion_matrix, empty_matrix, score
from matchloss.recipes.models import build_model
from matchloss.recipes.otsu import otsu_labels
from matchloss.recipes.pictures import overlay, palette
from matchloss.recipes.runs import METRICS, read_classes, versions
from matchloss.recipes.segment import Settings, stored_settings


@dataclass(frozen=True)
class Trained:
    """A model from a run's checkpoint, ready to predict."""

    model: nn.Module
    settings: Settings
    classes: list[str]
    checkpoint: str
    step: int
    seconds: float

    def predict(self, image: Tensor) -> Tensor:
        """Label every pixel of an image, uint8 (3, H, W)."""
        with torch.inference_mode():
            return predict_labels(self.model, image).cpu()


@dataclass(frozen=True)
class Evaluation:
    """The scores of a split, and of each of its images."""

    data: SegmentationFolder
    split: str
    scores: Scores
    otsu: Scores | None
    """For two-class data, the scores of Otsu's threshold."""
    image_iou: list[float]
    """Mean IoU of each image, in the order of the split."""


def load_trained(run: Path, checkpoint: str = "best") -> Trained:
    """Rebuild a run's model on the GPU, or the CPU where there is none."""
    settings = stored_settings(run)
    saved = load_checkpoint(run / f"{checkpoint}.pt")
    classes = read_classes(run)
    try:
        model = build_model(settings.model, classes=len(classes), folder=run / "model", pretrained=False)
        model.load_state_dict(trained_weights(saved))
    except (ValueError, KeyError, RuntimeError) as error:
        raise RunError(f"{run} is damaged or from another version: {' '.join(str(error).split())[:200]}") from error
    model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    return Trained(model, settings, classes, checkpoint, saved["state"]["step"], saved["state"]["seconds"])


def evaluate(trained: Trained, data: SegmentationFolder, split: str) -> Evaluation:
    """Score a model on a split, beside a threshold where there are two classes."""
    if data.classes != trained.classes:
        raise RunError(f"{data.root} has the classes {data.classes}, the run was trained on {trained.classes}")
    classes = trained.classes
    total = empty_matrix(len(classes), torch.device("cpu"))
    total_otsu, image_iou = total.clone(), []
    for index in range(len(data)):
        sample = data[index]
        matrix = confusion_matrix(trained.predict(sample.image), sample.labels, classes=len(classes))
        image_iou.append(score(matrix, classes).mean_iou)
        total += matrix
        if len(classes) == 2:
            total_otsu += confusion_matrix(otsu_labels(sample.image), sample.labels, classes=2)
    otsu = score(total_otsu, classes) if len(classes) == 2 else None
    return Evaluation(data, split, score(total, classes), otsu, image_iou)


def write_metrics(run: Path, trained: Trained, evaluation: Evaluation) -> Path:
    """Write the scores with what they were measured on; NaN becomes null, as JSON has none."""
    content = {
        "data": str(evaluation.data.root),
        "split": evaluation.split,
        "images": len(evaluation.data),
        "images_left_out": len(evaluation.data.skipped),
        "checkpoint": trained.checkpoint,
        "step": trained.step,
        "scores": _as_json(evaluation.scores),
        "otsu": _as_json(evaluation.otsu) if evaluation.otsu else None,
        "versions": versions(),
    }
    write_json(run / METRICS, content)
    return run / METRICS


def predict_file(trained: Trained, path: Path, out: Path) -> list[Path]:
    """Write the overlay and the mask of an image file; the mask is a palette PNG whose values are the class indices."""
    image = torch.from_numpy(read_image(path).transpose(2, 0, 1).copy())
    labels = trained.predict(image)
    drawn = Image.fromarray(overlay(image, labels, trained.classes).permute(1, 2, 0).numpy())
    mask = Image.fromarray(labels.numpy().astype(np.uint8))
    mask.putpalette([channel for color in palette(trained.classes) for channel in color or (0, 0, 0)])
    written = [out / f"{path.stem}_overlay.png", out / f"{path.stem}_mask.png"]
    for target, picture in zip(written, (drawn, mask), strict=True):
        write_atomically(target, partial(picture.save, format="PNG"))
    return written


def _as_json(scores: Scores) -> dict[str, Any]:
    def number(value: float) -> float | None:
        return None if math.isnan(value) else value

    each = zip(scores.classes, scores.iou, scores.dice, strict=True)
    return {
        "mean_iou": number(scores.mean_iou),
        "mean_dice": number(scores.mean_dice),
        "classes": {name: {"iou": number(iou), "dice": number(dice)} for name, iou, dice in each},
    }
