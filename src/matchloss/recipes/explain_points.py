"""Who learns what from an image in a dense detector: the points of each object, as a picture and as tables."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import ImageDraw, ImageFont
from torch import Tensor

from matchloss.assigners import TaskAlignedAssigner
from matchloss.criteria import RetinaNetCriterion, TaskAlignedCriterion
from matchloss.explain import Explanation, explain_assignment
from matchloss.recipes.data.boxes import BoxSample
from matchloss.recipes.detect_results import Trained
from matchloss.recipes.explain_pictures import (
    BLACK,
    GREY,
    NAMED,
    WHITE,
    Color,
    cross_out,
    enlarge,
    label,
    object_colors,
)
from matchloss.types import LossTerms


@dataclass(frozen=True)
class ExplainedPoints:
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


def explain_points(trained: Trained, sample: BoxSample) -> ExplainedPoints:
    """Match the predictions of a trained dense model with the annotations of an image."""
    seen, criterion = trained.look(sample.image), trained.method.criterion
    if not isinstance(criterion, TaskAlignedCriterion | RetinaNetCriterion):
        raise TypeError(f"explain_points: expected a dense criterion, got {type(criterion).__name__}")
    targets = seen.targets(sample, next(trained.model.parameters()).device)
    matched = criterion.match(seen.outputs, targets)
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
    return ExplainedPoints(sample, seen.fitted.scale, explanation, criterion(seen.outputs, targets))


def draw_points(explained: ExplainedPoints) -> Tensor:
    """Objects in colours of their own, with the points they were given; uint8 (3, H, W).

    The larger a point, the higher its metric, or its soft target where the assigner has no metric; a white ring marks a
    point that several objects selected. Objects without a point are crossed out, ignore regions are grey.
    """
    sample, said = explained.sample, explained.explanation
    picture, zoom = enlarge(sample.image)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(size=16)
    colors = object_colors(len(said.rows))
    for number, row in enumerate(said.rows.tolist()):
        box = (sample.boxes[row] * zoom).tolist()
        region, starved = bool(said.is_region[number]), bool(said.starved[number])
        pen.rectangle(box, outline=GREY if region else colors[number], width=2)
        if starved:
            cross_out(pen, box, colors[number])
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
            label(pen, (sample.boxes[row, :2] * zoom).tolist(), text, font)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


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
