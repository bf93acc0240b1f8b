"""What a trained detector is worth: scores on a split, and boxes of new images."""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from matchloss.recipes.box_metrics import BoxScores, Detected, average_precision
from matchloss.recipes.checkpoint import load_checkpoint, trained_weights, write_atomically, write_json
from matchloss.recipes.constant_boxes import score_constant_boxes
from matchloss.recipes.data.boxes import BoxFolder
from matchloss.recipes.data.pixels import read_image
from matchloss.recipes.detect import build_model, method_of, stored_settings
from matchloss.recipes.detect_inference import Seen, found_boxes, look_at
from matchloss.recipes.detect_method import Method
from matchloss.recipes.detect_pictures import draw_boxes
from matchloss.recipes.detect_settings import Settings, canvas
from matchloss.recipes.errors import RunError
from matchloss.recipes.runs import METRICS, read_classes, versions


@dataclass(frozen=True)
class Trained:
    """A model from a run's checkpoint, ready to predict."""

    run: Path
    model: nn.Module
    method: Method
    settings: Settings
    classes: list[str]
    checkpoint: str
    step: int
    seconds: float

    def look(self, image: Tensor) -> Seen:
        """Put an image, uint8 (3, H, W), through the model."""
        with torch.inference_mode():
            return look_at(self.model, image, max(canvas(self.settings.size)), self.method.pixels)

    def predict(self, image: Tensor) -> Detected:
        """Find the objects of an image, the surest first."""
        return found_boxes(self.look(image), self.method.decode)


@dataclass(frozen=True)
class Evaluation:
    """The scores of a split, and what was found in each of its images."""

    data: BoxFolder
    split: str
    scores: BoxScores
    found: list[Detected]
    objects: list[int]
    """How many of each class there are to find; ignored ones are left out."""
    constant: BoxScores | None
    """The scores of the same boxes in every image, those that are common in training."""


def load_trained(run: Path, checkpoint: str = "best") -> Trained:
    """Rebuild a run's model on the GPU, or the CPU where there is none."""
    settings = stored_settings(run)
    saved = load_checkpoint(run / f"{checkpoint}.pt")
    classes = read_classes(run)
    try:
        model = build_model(settings, len(classes), run, pretrained=False)
        model.load_state_dict(trained_weights(saved))
    except (ValueError, KeyError, RuntimeError) as error:
        raise RunError(f"{run} is damaged or from another version: {' '.join(str(error).split())[:200]}") from error
    model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    if settings.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    method, state = method_of(settings, len(classes), run), saved["state"]
    return Trained(run, model, method, settings, classes, checkpoint, state["step"], state["seconds"])


def evaluate(trained: Trained, data: BoxFolder, split: str) -> Evaluation:
    """Score a model on a split, beside boxes that are found without looking."""
    if data.classes != trained.classes:
        raise RunError(f"{data.root} has the classes {data.classes}, the run was trained on {trained.classes}")
    found = [trained.predict(data[index].image) for index in range(len(data))]
    truths = [data.truth(index) for index in range(len(data))]
    counted = torch.cat([truth.labels[~truth.ignore] for truth in truths])
    objects: list[int] = torch.bincount(counted, minlength=len(data.classes)).tolist()
    scores = average_precision(found, truths, data.classes)
    return Evaluation(data, split, scores, found, objects, score_constant_boxes(trained.run, data))


def write_metrics(run: Path, trained: Trained, evaluation: Evaluation) -> Path:
    """Write the scores with what they were measured on; NaN becomes null, as JSON has none."""
    content = {
        "data": str(evaluation.data.root),
        "split": evaluation.split,
        "images": len(evaluation.data),
        "images_left_out": len(evaluation.data.skipped),
        "checkpoint": trained.checkpoint,
        "step": trained.step,
        "scores": _as_json(evaluation.scores, trained.classes, evaluation.objects),
        "constant_boxes": evaluation.constant and _as_json(evaluation.constant, trained.classes, evaluation.objects),
        "versions": versions(),
    }
    write_json(run / METRICS, content)
    return run / METRICS


def predict_file(trained: Trained, path: Path, out: Path, *, min_score: float) -> list[Path]:
    """Write the overlay and the boxes of an image file; the boxes are xyxy in its pixels."""
    image = torch.from_numpy(read_image(path).transpose(2, 0, 1).copy())
    boxes, scores, labels = trained.predict(image)
    sure = scores >= min_score
    boxes, scores, labels = boxes[sure], scores[sure], labels[sure]
    drawn = draw_boxes(image, boxes, labels, trained.classes, scores=scores)
    picture = Image.fromarray(np.ascontiguousarray(drawn.permute(1, 2, 0).numpy()))
    overlay, listed = out / f"{path.stem}_overlay.png", out / f"{path.stem}_boxes.json"
    write_atomically(overlay, partial(picture.save, format="PNG"))
    write_json(listed, _listing(path, image, trained.classes, Detected(boxes, scores, labels)))
    return [overlay, listed]


def _listing(path: Path, image: Tensor, classes: list[str], found: Detected) -> dict[str, Any]:
    rows = zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
    return {
        "image": path.name,
        "width": image.shape[2],
        "height": image.shape[1],
        "objects": [
            {"class": classes[label], "score": round(score, 4), "box": [round(side, 2) for side in box]}
            for box, score, label in rows
        ],
    }


def _as_json(scores: BoxScores, classes: list[str], objects: list[int]) -> dict[str, Any]:
    rows = zip(classes, scores.ap_by_class, scores.ap50_by_class, objects, strict=True)
    return {
        "ap": _number(scores.ap),
        "ap50": _number(scores.ap50),
        "ap75": _number(scores.ap75),
        "classes": {
            name: {"ap": _number(ap), "ap50": _number(ap50), "objects": count} for name, ap, ap50, count in rows
        },
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
