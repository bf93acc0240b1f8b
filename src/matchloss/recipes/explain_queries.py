"""Who learns what from an image in a model that predicts a set: the query of each object, as a picture and a table."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import ImageDraw, ImageFont
from torch import Tensor

from matchloss.criteria import SetCriterion
from matchloss.explain import MatchingExplanation, explain_matching
from matchloss.geometry import cxcywh_to_xyxy
from matchloss.recipes.data.boxes import BoxSample
from matchloss.recipes.detect_results import Trained
from matchloss.recipes.explain_pictures import GREY, NAMED, cross_out, enlarge, label, object_colors
from matchloss.recipes.match_changes import describe_changes
from matchloss.types import LossTerms

DASH = 7
"""Pixels of a dash and of the gap after it."""


@dataclass(frozen=True)
class ExplainedQueries:
    """What a run's criterion makes of an image."""

    sample: BoxSample
    boxes: Tensor
    """``(Q, 4)`` of the queries of the last layer, xyxy in pixels of the image, not cut at its border."""
    explanation: MatchingExplanation
    loss: LossTerms
    changes: str
    """How many matches of val had changed at the last validation; empty where that is not known."""

    def __str__(self) -> str:
        """The table of the explanation, the share that each term of the last layer has in the loss, and the changes."""
        total, terms = float(self.loss.total), self.loss.terms
        last = {name: float(terms[name]) for name in ("class", "l1", "giou")}
        parts = last if len(terms) == len(last) else {**last, "earlier layers": total - sum(last.values())}
        shares = [f"{name} {value:.3f} ({value / total:.0%})" for name, value in parts.items()]
        changes = f"\n{self.changes}" if self.changes else ""
        return f"{self.explanation}\n\nloss {total:.3f}: {', '.join(shares)}{changes}"


def explain_queries(trained: Trained, sample: BoxSample) -> ExplainedQueries:
    """Match the predictions of a trained model with the annotations of an image."""
    seen, criterion = trained.look(sample.image), trained.method.criterion
    if not isinstance(criterion, SetCriterion):
        raise TypeError(f"explain_queries: expected a SetCriterion, got {type(criterion).__name__}")
    logits, boxes = seen.outputs["logits"], seen.outputs["pred_boxes"]
    targets = seen.targets(sample, logits.device)
    explanation = explain_matching(criterion.assigner, logits, boxes, targets, class_names=trained.classes)
    height, width = seen.size
    pixels = cxcywh_to_xyxy(boxes[0].float().cpu()) * torch.tensor([width, height, width, height]) / seen.fitted.scale
    changes = describe_changes(trained.run, trained.step)
    return ExplainedQueries(sample, pixels, explanation, criterion(seen.outputs, targets), changes)


def draw_queries(explained: ExplainedQueries) -> Tensor:
    """Objects in colours of their own, and dashed the boxes that their queries predict; uint8 (3, H, W).

    Objects without a query are crossed out, ignore regions are grey.
    """
    sample, said = explained.sample, explained.explanation
    picture, zoom = enlarge(sample.image)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(size=16)
    colors = object_colors(len(said.rows))
    for number, row in enumerate(said.rows.tolist()):
        box, query = (sample.boxes[row] * zoom).tolist(), int(said.query[number])
        pen.rectangle(box, outline=GREY if said.is_region[number] else colors[number], width=3)
        if said.unmatched[number]:
            cross_out(pen, box, colors[number])
        if query >= 0:
            _dashed(pen, (explained.boxes[query] * zoom).tolist(), colors[number])
    for number, row in enumerate(said.rows.tolist()):
        if not said.is_region[number]:
            names = said.class_names if len(said.rows) <= NAMED else None
            name = "" if names is None else f" {names[int(said.labels[number])]}"
            query = int(said.query[number])
            text = f"{row}{name}: {query}" if query >= 0 else f"{row}{name}: none"
            label(pen, (sample.boxes[row, :2] * zoom).tolist(), text, font)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def _dashed(pen: ImageDraw.ImageDraw, box: list[float], color: tuple[int, int, int]) -> None:
    x1, y1, x2, y2 = box
    for start, end in (((x1, y1), (x2, y1)), ((x2, y1), (x2, y2)), ((x2, y2), (x1, y2)), ((x1, y2), (x1, y1))):
        length = abs(end[0] - start[0]) + abs(end[1] - start[1])
        for place in range(0, int(length), 2 * DASH):
            ends = [place / length, min(place + DASH, length) / length]
            points = [tuple(a + share * (b - a) for a, b in zip(start, end, strict=True)) for share in ends]
            pen.line((*points[0], *points[1]), fill=color, width=2)
