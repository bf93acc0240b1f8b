"""Which query took which target, and what each would have cost: :func:`explain_matching`."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..assigners import HungarianAssigner
from ..types import Matching, Targets
from ._table import class_name, table


@dataclass(frozen=True)
class MatchingExplanation:
    """One image of a matching. Printed, it is a table of the targets, with the parts of what their queries cost."""

    rows: Tensor
    """``(m,)`` int64: the targets that are there, ignore regions among them."""
    labels: Tensor
    """``(m,)`` int64."""
    is_region: Tensor
    """``(m,)`` bool: an ignore region, which is never matched."""
    query: Tensor
    """``(m,)`` int64, -1 for none."""
    class_cost: Tensor
    """``(Q, m)``; these three are not weighted."""
    l1: Tensor
    """``(Q, m)``."""
    giou: Tensor
    """``(Q, m)`` minus the GIoU."""
    total: Tensor
    """``(Q, m)``, the weighted sum; inf for an ignore region."""
    weights: tuple[float, float, float]
    """Of the three costs."""
    class_names: Sequence[str] | None = None

    @property
    def cheapest(self) -> Tensor:
        """``(m,)`` int64: the query that a target would take if it were alone."""
        if not self.total.shape[0]:
            return torch.full_like(self.rows, -1)
        return self.total.nan_to_num(nan=torch.inf).argmin(0)

    @property
    def unmatched(self) -> Tensor:
        """``(m,)`` bool: an object without a query."""
        return (self.query < 0) & ~self.is_region

    def __str__(self) -> str:
        """An aligned table, and a line of totals."""
        names = ("class", "L1", "GIoU")
        formula = " + ".join(f"{weight:g} {name}" for weight, name in zip(self.weights, names, strict=True))
        objects, matched = int((~self.is_region).sum()), int((self.query >= 0).sum())
        preferred = int(((self.query != self.cheapest) & (self.query >= 0)).sum())
        paid = _paid(self.total, self.query)
        totals = (
            f"{matched} of {objects} targets matched, {self.total.shape[0] - matched} of {self.total.shape[0]} queries "
            f"left; {preferred} not matched with the cheapest; sum of the costs {float(paid.sum()):.3g}"
        )
        return f"{_target_table(self)}\n\ncost = {formula}\n{totals}"


@torch.no_grad()
def explain_matching(
    assigner: HungarianAssigner,
    logits: Tensor,
    boxes: Tensor,
    targets: Targets,
    *,
    matching: Matching | None = None,
    image: int = 0,
    class_names: Sequence[str] | None = None,
) -> MatchingExplanation:
    """Say of each target of an image which query it was given, and what that costs, part by part.

    Shapes:
        logits: (B, Q, C), as the assigner takes them; one layer.
        boxes: (B, Q, 4) cxcywh in fractions of the image.
        targets: of B images.

    Args:
        assigner: whose costs are shown.
        matching: a result that is there already; None to match.
        image: which of the batch.
        class_names: instead of numbers.

    Raises:
        ValueError: several layers, and what the assigner rejects.

    Example:
        Both targets would take query 1. The second one loses more by the next best, so it keeps it.

        >>> boxes = torch.tensor([[[0.3, 0.2, 0.2, 0.2], [0.5, 0.5, 0.2, 0.2]]])
        >>> objects = torch.tensor([[0.4, 0.4, 0.2, 0.2], [0.5, 0.5, 0.2, 0.2]])
        >>> image = {"boxes": objects, "labels": torch.tensor([0, 0])}
        >>> targets = Targets.from_list([image], box_format="cxcywh", normalized=True)
        >>> logits = torch.zeros(1, 2, 2)
        >>> print(explain_matching(HungarianAssigner.detr(), logits, boxes, targets, class_names=["car"]))
        target  query  class cost  L1 cost  GIoU cost  cost  cheapest  its cost
        0 car   0      -0.5        0.3      0.333      1.67  1         0.659
        1 car   1      -0.5        0        -1         -2.5
        <BLANKLINE>
        cost = 1 class + 5 L1 + 2 GIoU
        2 of 2 targets matched, 0 of 2 queries left; 1 not matched with the cheapest; sum of the costs -0.833
    """
    if logits.ndim != 3:
        raise ValueError(f"explain_matching: expected logits (B, Q, C) of one layer, got {tuple(logits.shape)}")
    one = slice(image, image + 1)
    names = ("labels", "boxes", "valid", "ignore", "weights")
    alone = targets._replace(masks=None, **{name: getattr(targets, name)[one] for name in names})
    cost = assigner.cost(logits[one], boxes[one], alone)
    if matching is None:
        query_of_target = assigner(logits[one], boxes[one], alone).query_of_target[0]
    else:
        query_of_target = matching.query_of_target[image]
    rows = targets.valid[image].nonzero().squeeze(1)
    return MatchingExplanation(
        rows=rows,
        labels=targets.labels[image, rows],
        is_region=targets.ignore[image, rows],
        query=query_of_target[rows],
        class_cost=cost.class_cost[0][:, rows],
        l1=cost.l1[0][:, rows],
        giou=cost.giou[0][:, rows],
        total=cost.total[0][:, rows],
        weights=(assigner.class_weight, assigner.l1_weight, assigner.giou_weight),
        class_names=class_names,
    )


def _paid(costs: Tensor, query: Tensor) -> Tensor:
    """Of each target what its query costs, 0 where it has none."""
    if not costs.shape[0]:
        return torch.zeros_like(query, dtype=costs.dtype)
    return torch.where(query >= 0, costs.gather(0, query.clamp(min=0).unsqueeze(0))[0], 0.0)


def _target_table(said: MatchingExplanation) -> str:
    lines = [["target", "query", "class cost", "L1 cost", "GIoU cost", "cost", "cheapest", "its cost"]]
    parts = [_paid(part, said.query) for part in (said.class_cost, said.l1, said.giou, said.total)]
    cheapest = said.cheapest
    for number, row in enumerate(said.rows.tolist()):
        query, best = int(said.query[number]), int(cheapest[number])
        name = f"{row} {class_name(said.class_names, int(said.labels[number]))}"
        if query < 0:
            lines.append([name, "ignored" if said.is_region[number] else "none", *[""] * 6])
            continue
        numbers = [f"{float(part[number]):.3g}" for part in parts]
        other = [str(best), f"{float(said.total[best, number]):.3g}"] if best != query else ["", ""]
        lines.append([name, str(query), *numbers, *other])
    return table(lines)
