"""Points are looked at in the order of what they might reach: who is selected does not depend on it."""

import torch

import matchloss
from matchloss import Targets
from matchloss.assigners import TaskAlignedAssigner

TARGET = torch.tensor([0.0, 0.0, 8.0, 8.0])


def positives(overlaps: list[float], scores: list[float], **options: object) -> list[list[int]]:
    """Of points in one target, whose boxes overlap it by so much; by whatever is installed, and by the plain form."""
    boxes = torch.stack([TARGET * torch.tensor([1.0, 1.0, overlap, 1.0]) for overlap in overlaps])
    points = torch.stack([torch.arange(1.0, len(overlaps) + 1) * 0.5, torch.full((len(overlaps),), 4.0)], 1)
    targets = Targets.from_list([{"boxes": TARGET[None], "labels": torch.tensor([0])}])
    assigner = TaskAlignedAssigner(alpha=1.0, beta=1.0, **options)  # type: ignore[arg-type]
    found = []
    for plain in (False, True):
        with matchloss.reference() if plain else torch.no_grad():
            result = assigner(torch.tensor(scores).view(1, -1, 1), boxes[None], points, targets)
        found.append((result.target_index[0] >= 0).nonzero()[:, 0].tolist())
    return found


def test_of_equal_metrics_the_lowest_point_stays_whenever_it_is_seen() -> None:
    # Metrics 1/4, 9/32, 1/4, 3/16; the last two overlap most, and are looked at first.
    assert positives([0.5, 0.375, 1.0, 1.0], [0.5, 0.75, 0.25, 0.1875], topk=2) == [[0, 1]] * 2


def test_a_point_has_one_place() -> None:
    assert positives([1.0, 0.5, 0.25], [1.0, 1.0, 1.0], topk=2) == [[0, 1]] * 2


def test_places_left_go_to_the_lowest_points_of_metric_0() -> None:
    # The third and the fourth overlap, but at a score of 0: no better than the first, which is apart.
    assert positives([0.0, 0.5, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0], topk=2) == [[0, 1]] * 2
