"""Which target gets a point that several have selected."""

import torch
from torch import Tensor

from ._aligned_pairs import pairs_of_rows
from ._candidates import Candidates
from ._rules import TaskAlignedRules
from ._scene import Scene


def settle_conflicts(rules: TaskAlignedRules, scene: Scene, candidates: Candidates) -> Tensor:
    """Row of each point's target, ``(B, A)``, -1 for none: the highest overlap wins, then the lowest row."""
    points = scene.boxes.shape[1]
    owner = best_claimant(candidates, points)
    contested = candidates.claims(points) >= 2
    if rules.conflict == "selected":
        return owner
    # Two claims make one contested point, so there are few beside all points. Their number follows from the shapes.
    most = min(points, candidates.chosen[0].numel() // 2) if len(owner) else 0
    if most == 0:
        return owner
    order = torch.arange(points, 0, -1, device=owner.device)
    where = torch.where(contested, order, 0).topk(most).indices
    winner = _best_of_all(rules, scene.at(where))
    settled = torch.where(contested.gather(1, where), winner, owner.gather(1, where))
    return owner.scatter(1, where, settled)


def best_claimant(candidates: Candidates, points: int) -> Tensor:
    """Of the targets that selected a point, the one of highest overlap."""
    images, targets, k = candidates.chosen.shape
    index, taken = candidates.chosen.flatten(1), candidates.taken.flatten(1)
    overlap = torch.where(taken, candidates.overlap.flatten(1), -1.0)
    row = torch.arange(targets, device=index.device).repeat_interleave(k).expand(images, -1)
    highest = overlap.new_full((images, points), -1.0).scatter_reduce(1, index, overlap, "amax")
    is_highest = taken & (overlap == highest.gather(1, index))
    first = row.new_full((images, points), targets)
    first = first.scatter_reduce(1, index, torch.where(is_highest, row, targets), "amin")
    return torch.where(first < targets, first, -1)


def _best_of_all(rules: TaskAlignedRules, scene: Scene) -> Tensor:
    """Of all targets, or of all that contain the point, the one of highest overlap."""
    images, points = scene.boxes.shape[:2]
    best = scene.boxes.new_full((images, points), -1.0)
    winner = torch.full((images, points), -1, dtype=torch.int64, device=best.device)
    for rows in scene.chunks():
        pairs = pairs_of_rows(rules, scene, rows)
        overlap = torch.where(pairs.possible if rules.conflict == "all" else pairs.passes, pairs.overlap, -1.0)
        highest = overlap.amax(1)
        row = torch.arange(rows.start, rows.stop, device=best.device).view(1, -1, 1)
        first = torch.where(overlap == highest.unsqueeze(1), row, rows.stop).amin(1)
        winner = torch.where(highest > best, first, winner)  # an earlier chunk keeps what is equal
        best = torch.maximum(best, highest)
    return winner
