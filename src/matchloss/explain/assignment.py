"""Who was matched to what, and why: :func:`explain_assignment`, a table in print and tensors for a picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..assigners import TaskAlignedAssigner
from ..assigners._aligned_pairs import pairs_of_owners, pairs_of_rows
from ..assigners._candidates import select_candidates
from ..assigners._rules import TaskAlignedRules
from ..assigners._scene import Scene, read_scene
from ..types import Assignment, Targets
from ._table import class_name, table

BY_OVERLAP = TaskAlignedRules(alpha=0.0, beta=1.0)
"""What the best target of a prediction is where an assigner has no metric."""
FEW = 20
"""Predictions that are all listed; of more, only as many positives and the best `NEGATIVES`."""
NEGATIVES = 5


@dataclass(frozen=True)
class Explanation:
    """One image of an assignment. Printed, it is a table of the predictions and one of the targets."""

    target: Tensor
    """``(A,)`` int64: the target of a positive; of others the best one, -1 if there is none."""
    positive: Tensor
    """``(A,)`` bool."""
    ignored: Tensor
    """``(A,)`` bool: neither positive nor negative."""
    class_score: Tensor | None
    """``(A,)`` probability of the class of `target`, or None if there were no scores."""
    overlap: Tensor
    """``(A,)`` with `target`, by the measure of the assigner."""
    metric: Tensor | None
    """``(A,)``, or None where the assigner has none."""
    soft_target: Tensor
    """``(A,)`` what the class score is trained towards."""
    conflict: Tensor | None
    """``(A,)`` bool: several targets selected the point; None where the assigner does not tell."""
    points: Tensor
    """``(A, 2)`` pixels."""
    rows: Tensor
    """``(m,)`` int64: the targets that are there, ignore regions among them."""
    labels: Tensor
    """``(m,)`` int64."""
    is_region: Tensor
    """``(m,)`` bool: an ignore region, which is never matched."""
    positives: Tensor
    """``(m, levels)`` int64: points that each target got on each level; one level if no counts were given."""
    class_names: Sequence[str] | None = None

    @property
    def starved(self) -> Tensor:
        """``(m,)`` bool: a target without a point."""
        return (self.positives.sum(1) == 0) & ~self.is_region

    def __str__(self) -> str:
        """Two aligned tables, and a line of totals."""
        conflicts = "" if self.conflict is None else f", {int(self.conflict.sum())} claimed by several targets"
        objects = int((~self.is_region).sum())
        totals = (
            f"{int(self.positive.sum())} positive, {int((~self.positive & ~self.ignored).sum())} negative, "
            f"{int(self.ignored.sum())} ignored{conflicts}; {int(self.starved.sum())} of {objects} targets starved"
        )
        return f"{_prediction_table(self)}\n\n{_target_table(self)}\n\n{totals}"


@torch.no_grad()
def explain_assignment(
    assigner: Callable[..., Assignment] | None,
    scores: Tensor | None,
    boxes: Tensor,
    points: Tensor,
    targets: Targets,
    *,
    strides: Tensor | None = None,
    assignment: Assignment | None = None,
    image: int = 0,
    counts: Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
) -> Explanation:
    """Say of each prediction of an image which target it is trained on, and of each target which points it got.

    Shapes:
        scores: (B, A, C) probabilities, or None.
        boxes: (B, A, 4) xyxy in pixels.
        points: (A, 2) pixels.
        targets: of B images.

    Args:
        assigner: whose result is explained; called with these arguments, unless `assignment` is given. Metric and
            conflicts are those of a :class:`TaskAlignedAssigner`; others have none.
        strides: (A,) pixels, for assigners that need them.
        assignment: a result that is there already, as of an assigner of priors (ATSS, max-IoU).
        image: which of the batch.
        counts: points of each level, to tell the levels apart.
        class_names: instead of numbers.

    Raises:
        ValueError: neither assigner nor assignment, counts that do not add up to A, and what the assigner rejects.

    Example:
        >>> targets = Targets.from_list([{"boxes": torch.tensor([[0.0, 0.0, 9.0, 9.0]]), "labels": torch.tensor([0])}])
        >>> boxes = torch.tensor([[[0.0, 0.0, 9.0, 6.0], [50.0, 0.0, 59.0, 9.0]]])
        >>> scores = torch.tensor([[[0.9], [0.2]]])
        >>> points = torch.tensor([[4.0, 4.0], [54.0, 4.0]])
        >>> print(explain_assignment(TaskAlignedAssigner(), scores, boxes, points, targets, class_names=["car"]))
        prediction  point       target  class score  overlap  metric  result    soft target
        0           (4, 4)      0 car   0.9          0.667    0.079   positive  0.667
        1           (54, 4)     0 car   0.2          0        0       negative
        <BLANKLINE>
        target  points
        0 car   1
        <BLANKLINE>
        1 positive, 1 negative, 0 ignored, 0 claimed by several targets; 0 of 1 targets starved
    """
    if assignment is None:
        if assigner is None:
            raise ValueError("explain_assignment: expected an assigner or an assignment, got neither")
        assignment = assigner(scores, boxes, points, targets, strides=strides)
    if counts is not None and sum(counts) != len(points):
        raise ValueError(f"explain_assignment: expected counts that add up to {len(points)}, got {sum(counts)}")
    one = slice(image, image + 1)
    is_aligned = isinstance(assigner, TaskAlignedAssigner)
    rules = assigner if isinstance(assigner, TaskAlignedAssigner) else BY_OVERLAP
    seen = _read(scores, boxes, points, targets, strides, one)
    owner = assignment.target_index[one]
    best = torch.where(owner >= 0, owner, _best_target(rules, seen))
    pairs = pairs_of_owners(rules, seen, best)
    at_label = seen.targets.labels.gather(1, best.clamp(min=0))
    rows = targets.valid[image].nonzero().squeeze(1)
    return Explanation(
        target=best[0],
        positive=owner[0] >= 0,
        ignored=assignment.ignore[image],
        class_score=None if scores is None else seen.scores.gather(2, at_label.unsqueeze(2))[0, :, 0],
        overlap=pairs.overlap[0],
        metric=pairs.metric[0] if is_aligned else None,
        soft_target=assignment.scores[image],
        conflict=select_candidates(rules, seen).claims(len(points))[0] >= 2 if is_aligned else None,
        points=points,
        rows=rows,
        labels=targets.labels[image, rows],
        is_region=targets.ignore[image, rows],
        positives=_count(owner[0], rows, counts or [len(points)]),
        class_names=class_names,
    )


def _read(
    scores: Tensor | None, boxes: Tensor, points: Tensor, targets: Targets, strides: Tensor | None, one: slice
) -> Scene:
    """One image; without scores, every class has the probability 1."""
    if scores is None:
        classes = int(targets.labels.max()) + 1 if targets.labels.numel() else 1
        scores = boxes.new_ones(1, 1, 1).expand(*boxes.shape[:2], classes)
    names = ("labels", "boxes", "valid", "ignore", "weights")
    fields = {name: getattr(targets, name)[one] for name in names}
    # A row more, which does not count: then there always is one.
    fields = {name: torch.cat([field, field.new_zeros(1, 1, *field.shape[2:])], 1) for name, field in fields.items()}
    alone = targets._replace(masks=None, **fields)
    return read_scene("explain_assignment", scores[one], boxes[one], points, alone, strides)


def _best_target(rules: TaskAlignedRules, scene: Scene) -> Tensor:
    """Of every point: highest metric, then highest overlap, then nearest centre; -1 if there is no target."""
    best: Tensor | None = None
    winner = torch.full_like(scene.boxes[..., 0], -1, dtype=torch.int64)
    any_place = replace(rules, min_overlap=0.0, reach=None)
    for rows in scene.chunks():
        pairs, boxes = pairs_of_rows(any_place, scene, rows), scene.targets.boxes[:, rows]
        centers = (boxes[..., :2] / 2 + boxes[..., 2:] / 2).unsqueeze(2)
        nearness = -(scene.points.unsqueeze(1) - centers).square().sum(-1)
        real = scene.targets.matchable[:, rows].unsqueeze(2)
        for number in range(rows.stop - rows.start):
            mine = torch.stack([pairs.metric[:, number], pairs.overlap[:, number], nearness[:, number]], -1)
            wins = real[:, number].expand_as(winner) & ((winner < 0) | (best is None or _exceeds(mine, best)))
            best = mine if best is None else torch.where(wins.unsqueeze(-1), mine, best)
            winner = torch.where(wins, rows.start + number, winner)
    return winner


def _exceeds(first: Tensor, second: Tensor) -> Tensor:
    """Lexicographic order along the last dimension."""
    above, equal = first > second, first == second
    return above[..., 0] | (equal[..., 0] & (above[..., 1] | (equal[..., 1] & above[..., 2])))


def _count(owner: Tensor, rows: Tensor, counts: Sequence[int]) -> Tensor:
    """Points of each target on each level."""
    levels = torch.split(owner, list(counts))
    return torch.stack([(level.unsqueeze(0) == rows.unsqueeze(1)).sum(1) for level in levels], dim=1)


def _prediction_table(said: Explanation) -> str:
    header = ["prediction", "point", "target", "class score", "overlap", "metric", "result", "soft target"]
    shown = _shown(said)
    lines = []
    for place in shown:
        x, y = (f"{value:g}" for value in said.points[place].tolist())
        word = "positive" if said.positive[place] else "ignored" if said.ignored[place] else "negative"
        if said.conflict is not None and said.conflict[place]:
            word += ", contested"
        row = int(said.target[place])
        target = "" if row < 0 else f"{row} {class_name(said.class_names, int(said.labels[said.rows == row][0]))}"
        numbers = (said.class_score, said.overlap, said.metric)
        cells = ["" if values is None or row < 0 else f"{float(values[place]):.3g}" for values in numbers]
        soft = f"{float(said.soft_target[place]):.3g}" if said.positive[place] else ""
        lines.append([str(place), f"({x}, {y})", target, *cells, word, soft])
    left_out = len(said.positive) - len(shown)
    return table([header, *lines]) + (f"\n... and {left_out} more" if left_out else "")


def _shown(said: Explanation) -> list[int]:
    """All predictions, or of many the positives of highest soft target and the best of the others."""
    if len(said.positive) <= FEW:
        return list(range(len(said.positive)))
    best = said.overlap if said.metric is None else said.metric
    positives = torch.where(said.positive, said.soft_target, -1.0).argsort(descending=True, stable=True)
    others = torch.where(said.positive, -1.0, best).argsort(descending=True, stable=True)
    first = positives[: min(FEW, int(said.positive.sum()))].tolist()
    return first + others[: min(NEGATIVES, int((~said.positive).sum()))].tolist()


def _target_table(said: Explanation) -> str:
    levels = said.positives.shape[1]
    header = ["target", "points", *(f"level {level}" for level in range(levels) if levels > 1), ""]
    lines = []
    for number, row in enumerate(said.rows.tolist()):
        counts = said.positives[number].tolist()
        note = "ignore region" if said.is_region[number] else "starved" if said.starved[number] else ""
        name = f"{row} {class_name(said.class_names, int(said.labels[number]))}"
        lines.append([name, str(sum(counts)), *(str(count) for count in counts if levels > 1), note])
    return table([header, *lines])
