"""The table of a matching says what the assigner did, and what it cost."""

import pytest
import torch

from matchloss.assigners import HungarianAssigner
from matchloss.explain import explain_matching
from matchloss.types import Targets

ASSIGNER = HungarianAssigner.detr()
NOTHING = {
    "boxes": torch.zeros(0, 4),
    "labels": torch.zeros(0, dtype=torch.long),
    "ignore": torch.zeros(0, dtype=torch.bool),
}
OBJECTS = {
    "boxes": torch.tensor([[0.3, 0.3, 0.2, 0.2], [0.5, 0.5, 0.9, 0.9], [0.7, 0.4, 0.1, 0.3], [0.2, 0.8, 0.2, 0.2]]),
    "labels": torch.tensor([0, 1, 1, 2]),
    "ignore": torch.tensor([False, True, False, False]),
}


def scene(queries: int = 9) -> tuple[torch.Tensor, torch.Tensor, Targets]:
    rng = torch.Generator().manual_seed(3)
    logits = torch.randn(2, queries, 4, generator=rng)
    boxes = 0.2 + 0.4 * torch.rand(2, queries, 4, generator=rng)
    return logits, boxes, Targets.from_list([NOTHING, OBJECTS], box_format="cxcywh", normalized=True)


def test_costs_and_queries_are_those_of_the_assigner() -> None:
    logits, boxes, targets = scene()
    said = explain_matching(ASSIGNER, logits, boxes, targets, image=1, class_names=["a", "b", "c"])
    matching, cost = ASSIGNER(logits, boxes, targets), ASSIGNER.cost(logits, boxes, targets)
    assert said.query.tolist() == matching.query_of_target[1].tolist()
    assert said.query[1] == -1
    assert said.is_region.tolist() == [False, True, False, False]
    torch.testing.assert_close(said.total, cost.total[1])
    torch.testing.assert_close(said.l1, cost.l1[1])
    objects = ~said.is_region
    parts = said.class_cost + 5 * said.l1 + 2 * said.giou
    torch.testing.assert_close(parts[:, objects], said.total[:, objects])
    assert said.cheapest[objects].tolist() == cost.total[1].argmin(0)[objects].tolist()
    assert not said.unmatched.any()


def test_a_line_holds_the_parts_of_what_a_target_pays() -> None:
    logits, boxes, targets = scene()
    said = explain_matching(ASSIGNER, logits, boxes, targets, image=1, class_names=["a", "b", "c"])
    lines = str(said).splitlines()
    assert lines[2].split() == ["1", "b", "ignored"]
    for number, name in ((0, "a"), (2, "b"), (3, "c")):
        query = int(said.query[number])
        cells = lines[1 + number].split()
        assert cells[:3] == [str(number), name, str(query)]
        paid = [float(part[query, number]) for part in (said.class_cost, said.l1, said.giou, said.total)]
        assert [float(cell) for cell in cells[3:7]] == pytest.approx(paid, rel=0.01)
        best = int(said.cheapest[number])
        assert cells[7:] == ([] if best == query else [str(best), f"{float(said.total[best, number]):.3g}"])
    assert "cost = 1 class + 5 L1 + 2 GIoU" in str(said)
    paid_in_sum = sum(float(said.total[said.query[number], number]) for number in (0, 2, 3))
    assert str(said).endswith(f"sum of the costs {paid_in_sum:.3g}")
    assert "3 of 3 targets matched, 6 of 9 queries left" in str(said)


def test_a_target_that_gives_way_names_its_cheapest_query() -> None:
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.2], [0.9, 0.9, 0.1, 0.1]]])
    image = {"boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.55, 0.5, 0.2, 0.2]]), "labels": torch.tensor([0, 0])}
    targets = Targets.from_list([image], box_format="cxcywh", normalized=True)
    said = explain_matching(ASSIGNER, torch.zeros(1, 2, 2), boxes, targets)
    assert said.cheapest.tolist() == [0, 0]
    assert sorted(said.query.tolist()) == [0, 1]
    assert "1 not matched with the cheapest" in str(said)


def test_surplus_targets_and_empty_images_have_their_words() -> None:
    logits, boxes, targets = scene(queries=2)
    said = explain_matching(ASSIGNER, logits, boxes, targets, image=1)
    assert said.unmatched.sum() == 1
    assert "none" in str(said)
    assert "class 0" in str(said)
    assert "2 of 3 targets matched, 0 of 2 queries left" in str(said)
    empty = explain_matching(ASSIGNER, logits, boxes, targets, image=0)
    assert "0 of 0 targets matched, 2 of 2 queries left" in str(empty)
    none = explain_matching(ASSIGNER, logits[:, :0], boxes[:, :0], targets, image=1)
    assert "0 of 3 targets matched, 0 of 0 queries left" in str(none)


def test_a_matching_that_is_there_is_taken_and_layers_are_refused() -> None:
    logits, boxes, targets = scene()
    other = HungarianAssigner(l1_weight=0.0, giou_weight=0.0)(logits, boxes, targets)
    said = explain_matching(ASSIGNER, logits, boxes, targets, matching=other, image=1)
    assert said.query.tolist() == other.query_of_target[1].tolist()
    with pytest.raises(ValueError, match=r"explain_matching: expected logits \(B, Q, C\) of one layer"):
        explain_matching(ASSIGNER, logits[None], boxes[None], targets)
