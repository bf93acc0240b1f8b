"""Who learns what in an image: the points that each object was given, as a picture and as tables."""

import colorsys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from matchloss.assigners import TaskAlignedAssigner
from matchloss.explain import Explanation, explain_assignment
from matchloss.recipes.augment_boxes import letterbox
from matchloss.recipes.checkpoint import write_atomically
from matchloss.recipes.data.boxes import BoxSample
from matchloss.recipes.detect import canvas, composition, open_splits
from matchloss.recipes.detect_criteria import make_criterion
from matchloss.recipes.detect_models import STRIDES
from matchloss.recipes.detect_results import Trained
from matchloss.recipes.errors import RunError
from matchloss.types import LossTerms, Targets

LONG_SIDE = 1280
"""Pixels of the picture: points of the finest level are then some thirty apart."""
NAMED = 20
"""Objects whose class is written beside their number; of more, names would cover each other and the points."""
GREY, WHITE, BLACK = (160, 160, 160), (255, 255, 255), (0, 0, 0)
Color = tuple[int, int, int]


@dataclass(frozen=True)
class ExplainedImage:
    """What a run's criterion makes of an image."""

    sample: BoxSample
    scale: Tensor
    """Boxes of the image times this are boxes as the model sees them."""
    explanation: Explanation
    loss: LossTerms

    def __str__(self) -> str:
        """The tables of the explanation, and the share that each term has in the loss."""
        total = float(self.loss.total)
        shares = [f"{name} {float(term):.3f} ({float(term) / total:.0%})" for name, term in self.loss.terms.items()]
        return f"{self.explanation}\n\nloss {total:.3f}: {', '.join(shares)}"


def explain_image(trained: Trained, image: str) -> ExplainedImage:
    """Match the predictions of a trained model with the annotations of one of its run's images."""
    sample = find_sample(trained, image)
    fitted = letterbox(sample.image, long_side=max(canvas(trained.settings.size)), multiple=STRIDES[-1])
    device = next(trained.model.parameters()).device
    objects = {"boxes": sample.boxes * fitted.scale, "labels": sample.labels, "ignore": sample.ignore}
    targets = Targets.from_list([{name: values.to(device) for name, values in objects.items()}])
    with torch.inference_mode():
        levels = trained.model(fitted.image[None].to(device))
    criterion = make_criterion(composition(trained.settings), len(trained.classes))
    matched = criterion.match(levels, targets)
    aligned = criterion.assigner if isinstance(criterion.assigner, TaskAlignedAssigner) else None
    explanation = explain_assignment(
        aligned,
        matched.probabilities,
        matched.boxes,
        matched.points,
        targets,
        strides=matched.strides,
        assignment=matched.assignment,
        counts=matched.counts,
        class_names=trained.classes,
    )
    return ExplainedImage(sample, fitted.scale, explanation, criterion(levels, targets))


def find_sample(trained: Trained, image: str) -> BoxSample:
    """The annotated image of that name, with or without folder and suffix, out of the run's two lists."""
    wanted = {image, Path(image).name, Path(image).stem}
    for data in open_splits(trained.settings):
        for index, name in enumerate(data.names):
            if name in wanted or Path(name).name in wanted:
                return data[index]
    raise RunError(f"{image}: expected an image of the run's train or val list in {trained.settings.data}, found none")


def draw_explanation(explained: ExplainedImage) -> Tensor:
    """Objects in colours of their own, with the points they were given; uint8 (3, H, W).

    The larger a point, the higher its metric, or its soft target where the assigner has no metric; a white ring marks a
    point that several objects selected. Objects without a point are crossed out, ignore regions are grey.
    """
    sample, said = explained.sample, explained.explanation
    zoom = LONG_SIDE / max(sample.image.shape[1:])
    size = (round(sample.image.shape[2] * zoom), round(sample.image.shape[1] * zoom))
    picture = Image.fromarray(np.ascontiguousarray(sample.image.permute(1, 2, 0).numpy()))
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(size=16)
    colors = object_colors(len(said.rows))
    for number, row in enumerate(said.rows.tolist()):
        box = (sample.boxes[row] * zoom).tolist()
        region, starved = bool(said.is_region[number]), bool(said.starved[number])
        pen.rectangle(box, outline=GREY if region else colors[number], width=2)
        if starved:
            pen.line((*box[:2], *box[2:]), fill=colors[number], width=2)
            pen.line((box[0], box[3], box[2], box[1]), fill=colors[number], width=2)
    where = said.points.cpu() / explained.scale[:2] * zoom
    sizes = radii(said)
    for place in said.positive.nonzero().squeeze(1).tolist():
        number = int((said.rows == said.target[place]).nonzero()[0])
        contested = said.conflict is not None and bool(said.conflict[place])
        _dot(pen, where[place].tolist(), float(sizes[place]), colors[number], contested=contested)
    for number, row in enumerate(said.rows.tolist()):
        if not said.is_region[number]:
            names = said.class_names if len(said.rows) <= NAMED else None
            name = "" if names is None else f" {names[int(said.labels[number])]}"
            text = f"{row}{name}: {int(said.positives[number].sum())}"
            _label(pen, (sample.boxes[row, :2] * zoom).tolist(), text, font)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def object_colors(count: int) -> list[Color]:
    """Hues a golden angle apart, so that neighbours in the list differ."""
    hues = [(number * 0.618034) % 1 for number in range(count)]
    return [_rgb(hue, 1.0 if number % 2 else 0.75) for number, hue in enumerate(hues)]


def _rgb(hue: float, value: float) -> Color:
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.9, value))
    return red, green, blue


def radii(said: Explanation) -> Tensor:
    """From 3 to 10 pixels, by the metric of a point beside the best one of its object."""
    strength = said.soft_target if said.metric is None else said.metric
    best = torch.zeros(int(said.target.max()) + 2, dtype=strength.dtype)
    held = torch.where(said.positive, said.target, -1).cpu() + 1
    strength = torch.where(said.positive, strength, 0.0).cpu()
    best = best.scatter_reduce(0, held, strength, "amax").clamp(min=1e-12)
    return 3 + 7 * (strength / best[held]).sqrt()


def _dot(pen: ImageDraw.ImageDraw, center: list[float], radius: float, color: Color, *, contested: bool) -> None:
    if contested:
        pen.circle(center, radius + 3, fill=WHITE)
    pen.circle(center, radius + 1, fill=BLACK)
    pen.circle(center, radius, fill=color)


def _label(
    pen: ImageDraw.ImageDraw, corner: list[float], text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> None:
    x, y = corner[0] + 3, corner[1] + 2
    left, top, right, bottom = pen.textbbox((x, y), text, font=font)
    pen.rectangle((left - 2, top - 2, right + 2, bottom + 2), fill=BLACK)
    pen.text((x, y), text, fill=WHITE, font=font)


def write_explanation(trained: Trained, image: str, out: Path) -> ExplainedImage:
    """Draw an image's explanation into a PNG file."""
    explained = explain_image(trained, image)
    picture = Image.fromarray(np.ascontiguousarray(draw_explanation(explained).permute(1, 2, 0).numpy()))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, partial(picture.save, format="PNG"))
    return explained
