"""Matching of rotated boxes: equal to the upright form where nothing is turned, and to a slow form where it is."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch.testing import assert_close

import matchloss
import rotated_scenes as scene
from host_reads import NoHostReads
from matchloss.assigners import (
    ATSSAssigner,
    HungarianAssigner,
    MaxIoUAssigner,
    SimOTAAssigner,
    TaskAlignedAssigner,
)
from matchloss.geometry import grid_points
from matchloss.types import Targets
from rotated_scenes import CLASSES, QUERIES, SIZE, in_fractions
from set_scenes import mapped

POINTS = grid_points([(25, 60), (13, 30)], [4, 8], dtype=torch.float64)


# Set matching


@pytest.mark.parametrize("kind", ["iou", "probiou", "kld"])
def test_costs_and_matching_equal_the_slow_form(kind: str) -> None:
    assigner = HungarianAssigner(rotated_cost=kind, l1_weight=2.0, giou_weight=3.0)
    targets, (logits, boxes) = scene.targets(), scene.predictions(CLASSES + 1)
    cost, matching = assigner.cost(logits, boxes, targets), assigner(logits, boxes, targets)
    scale = np.array([SIZE[1], SIZE[0], SIZE[1], SIZE[0], 1.0])
    fields = (targets.labels, targets.boxes, targets.valid & ~targets.ignore)
    for b, (labels, objects, real) in enumerate(zip(*fields, strict=True)):
        rows, total = real.nonzero()[:, 0].tolist(), []
        for m in rows:
            target, label = objects[m].numpy(), labels[m]
            of_class = -logits[b].softmax(-1)[:, label].numpy()
            apart = np.array([scene.l1(box, target / scale) for box in boxes[b].numpy()])
            overlap = np.array([scene.OVERLAPS[kind](box * scale, target) for box in boxes[b].numpy()])
            total.append(of_class + 2 * apart - 3 * overlap)
            assert_close(cost.l1[b, :, m], torch.tensor(apart), rtol=1e-9, atol=1e-9)
            assert_close(cost.giou[b, :, m], torch.tensor(-overlap), rtol=1e-7, atol=1e-7)
            assert_close(cost.total[b, :, m], torch.tensor(total[-1]), rtol=1e-7, atol=1e-7)
        wanted = dict(zip(rows, linear_sum_assignment(np.array(total))[1], strict=True)) if rows else {}
        assert matching.query_of_target[b].tolist() == [wanted.get(m, -1) for m in range(targets.labels.shape[1])]
    assert matching.stats["matched"] == 4


def test_it_knows_the_turned_object_by_its_angle() -> None:
    crossed = torch.tensor([[[60.0, 40.0, 80.0, 14.0, 0.5], [60.0, 40.0, 80.0, 14.0, -0.5]]], dtype=torch.float64)
    boxes = in_fractions(crossed[:, [1, 0]])
    image = {"boxes": crossed[0], "labels": torch.zeros(2, dtype=torch.long)}
    for kind in ("iou", "probiou", "kld"):
        assigner = HungarianAssigner(rotated_cost=kind, l1_weight=0.0)
        found = assigner(torch.zeros(1, 2, 2, dtype=torch.float64), boxes, scene.targets([image]))
        assert found.query_of_target.tolist() == [[1, 0]]


def test_with_all_angles_0_it_is_the_upright_matching() -> None:
    logits, boxes = scene.predictions(CLASSES, turned=False)
    targets = scene.upright(scene.targets())
    assigner = HungarianAssigner(class_cost="focal", rotated_cost="iou", giou_weight=0.0)
    four = scene.without_angles(targets)
    wanted, got = assigner.cost(logits, boxes[..., :4], four), assigner.cost(logits, boxes, targets)
    assert_close(got.class_cost, wanted.class_cost)
    real = (targets.valid & ~targets.ignore).unsqueeze(1).expand_as(wanted.l1)
    assert_close(got.l1[real], wanted.l1[real])
    assert torch.equal(
        assigner(logits, boxes, targets).query_of_target, assigner(logits, boxes[..., :4], four).query_of_target
    )
    # Upright targets are rotated ones without a turn.
    assert torch.equal(assigner(logits, boxes, four).query_of_target, assigner(logits, boxes, targets).query_of_target)


def test_boxes_overlap_in_pixels_not_in_fractions() -> None:
    # A long box turned by 45 degrees and its like at right angles: 1/19 in pixels, and much else in fractions.
    target = torch.tensor([[120.0, 50.0, 100.0, 10.0, math.pi / 4]], dtype=torch.float64)
    box = target * torch.tensor([1, 1, 1, 1, -1.0], dtype=torch.float64)
    image = {"boxes": target, "labels": torch.tensor([0])}
    assigner = HungarianAssigner(rotated_cost="iou")
    cost = assigner.cost(torch.zeros(1, 1, 2, dtype=torch.float64), in_fractions(box)[None], scene.targets([image]))
    assert_close(cost.giou[0, 0, 0].item(), -1 / 19)


def test_pixels_and_fractions_of_targets_are_the_same() -> None:
    logits, boxes = scene.predictions(CLASSES + 1)
    pixels = scene.targets()
    fractions = pixels._replace(boxes=in_fractions(pixels.boxes), normalized=True)
    wanted, got = (HungarianAssigner().cost(logits, boxes, each) for each in (pixels, fractions))
    assert_close(got.total, wanted.total)


def test_a_crowd_an_empty_image_and_broken_queries_are_never_matched() -> None:
    logits, boxes = scene.predictions(CLASSES + 1)
    boxes[0, 0] = torch.nan
    boxes[0, 1, 2] = torch.inf
    boxes[1, 0, 4] = torch.inf
    for kind in ("iou", "probiou", "kld"):
        found = HungarianAssigner(rotated_cost=kind, l1_weight=0.0)(logits, boxes, scene.targets())
        assert found.query_of_target[1, 1] == -1
        assert (found.query_of_target[2] == -1).all()
        assert not {0, 1} & set(found.query_of_target[0].tolist())
        assert found.query_of_target[1, 0] != 0
        assert found.stats["broken"] == 2 * 2 + 2
    none = HungarianAssigner()(logits, boxes, scene.targets([scene.NOTHING] * 3))
    assert (none.target_of_query == -1).all()


def test_layers_are_matched_in_one_call_and_half_precision_is_widened() -> None:
    logits, boxes = (torch.stack(both) for both in zip(scene.predictions(4), scene.predictions(4, seed=1), strict=True))
    assigner, targets = HungarianAssigner(), scene.targets()
    together = assigner(logits, boxes, targets)
    for layer in range(2):
        one = assigner(logits[layer], boxes[layer], targets)
        assert torch.equal(together.query_of_target[layer], one.query_of_target)
    half = assigner(logits.half(), boxes.half(), targets._replace(boxes=targets.boxes.half()))
    with matchloss.reference():
        single = assigner(logits.half().float(), boxes.half().float(), targets._replace(boxes=targets.boxes.half()))
    assert torch.equal(half.query_of_target, single.query_of_target)


def test_nothing_is_read_on_the_host() -> None:
    """Tensors on the meta device have no data to read."""
    logits, boxes = (values.to("meta") for values in scene.predictions(CLASSES + 1))
    targets = mapped(scene.targets(), lambda values: values.to("meta"))
    with NoHostReads():
        for kind in ("iou", "probiou", "kld"):
            assert HungarianAssigner(rotated_cost=kind).cost(logits, boxes, targets).total.shape == (3, QUERIES, 3)


def test_what_does_not_fit_is_one_sentence() -> None:
    logits, boxes = scene.predictions(CLASSES + 1)
    with pytest.raises(
        ValueError, match=r"^HungarianAssigner: expected Targets with image_size=\(H, W\): rotated boxes"
    ):
        HungarianAssigner()(logits, boxes, scene.targets(size=None))
    with pytest.raises(ValueError, match=rf"^HungarianAssigner: expected boxes of shape \(3, {QUERIES}, 5\), got"):
        HungarianAssigner()(logits, boxes[..., :4], scene.targets())
    listed = Targets.from_list([scene.TWO, scene.CROWDED, scene.NOTHING])
    with pytest.raises(
        ValueError, match=r"^HungarianAssigner: expected 4 numbers a box in the format xyxy, got boxes of 5"
    ):
        HungarianAssigner()(logits, boxes, listed)
    with pytest.raises(ValueError, match=r"expected rotated_cost to be one of 'probiou', 'kld', 'iou', got 'giou'"):
        HungarianAssigner(rotated_cost="giou")
    anchors, one = torch.tensor([[0.0, 0.0, 8.0, 8.0]]), scene.targets([scene.TWO])
    scores, places = torch.ones(1, 1, CLASSES), torch.tensor([[4.0, 4.0]])
    for name, call in {
        "ATSSAssigner": lambda: ATSSAssigner()(anchors, [1], one),
        "MaxIoUAssigner": lambda: MaxIoUAssigner()(anchors, one),
        "SimOTAAssigner": lambda: SimOTAAssigner()(scores, anchors[None], places, one, strides=torch.tensor([8.0])),
    }.items():
        with pytest.raises(ValueError, match=rf"^{name}: expected upright targets, .* TaskAlignedAssigner"):
            call()


# Task-aligned assignment


def dense_predictions(*, turned: bool = True, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities, and boxes about the points in pixels; those in an object resemble it."""
    rng = torch.Generator().manual_seed(seed)
    count = len(POINTS.centers)
    scores = torch.rand(3, count, CLASSES, generator=rng, dtype=torch.float64)
    noise = torch.randn(3, count, 5, generator=rng, dtype=torch.float64)
    boxes = torch.cat([POINTS.centers.expand(3, -1, -1), torch.ones(3, count, 3, dtype=torch.float64)], -1)
    boxes = boxes * torch.tensor([1.0, 1.0, 40.0, 20.0, 0.0], dtype=torch.float64)
    boxes = boxes + noise * torch.tensor([4.0, 4.0, 8.0, 4.0, 1.0], dtype=torch.float64)
    for b, targets in enumerate(scene.targets().boxes):
        for target in targets:
            near = (boxes[b, :, :2] - target[:2]).abs().amax(-1) < 15
            boxes[b] = torch.where(near[:, None], target + noise[b] * torch.tensor([3, 3, 5, 3, 0.2]), boxes[b])
    if not turned:
        boxes[..., 4] = 0
    return scores, boxes


def slow_task_aligned(scores, boxes, targets: Targets, *, topk: int, alpha: float, beta: float, kind: str):
    """One image at a time: the best points in each target, conflicts to the higher overlap, soft scores."""
    points = POINTS.centers.numpy()
    for b in range(3):
        rows = (targets.valid & ~targets.ignore)[b].nonzero()[:, 0].tolist()
        values = {}
        for m in rows:
            x, y, width, height, angle = targets.boxes[b, m].tolist()
            apart = points - [x, y]
            along = apart @ [math.cos(angle), math.sin(angle)]
            down = apart @ [-math.sin(angle), math.cos(angle)]
            for a in np.nonzero((abs(along) < width / 2) & (abs(down) < height / 2))[0].tolist():
                overlap = scene.OVERLAPS[kind](boxes[b, a].numpy(), targets.boxes[b, m].numpy())
                values[a, m] = scores[b, a, targets.labels[b, m]].item() ** alpha * overlap**beta, overlap
        claims: dict[int, list[int]] = {}
        for m in rows:
            inside = [a for a, row in values if row == m]
            for a in sorted(inside, key=lambda a: (-values[a, m][0], a))[:topk]:
                claims.setdefault(a, []).append(m)
        holds = {}
        for a, claimants in claims.items():
            there = [other for other in rows if (a, other) in values] if len(claimants) > 1 else claimants
            holds[a] = max(there, key=lambda m: (values[a, m][1], -m))
        index, soft = torch.full((len(points),), -1), torch.zeros(len(points), dtype=torch.float64)
        for a, m in holds.items():
            mine = [values[other, m] for other, row in holds.items() if row == m]
            index[a] = m
            soft[a] = values[a, m][0] / max(t for t, _ in mine) * max(u for _, u in mine)
        yield index, soft


@pytest.mark.parametrize("kind", ["iou", "probiou"])
@pytest.mark.parametrize("path", ["fast", "plain"])
def test_task_aligned_equals_the_slow_form(kind: str, path: str) -> None:
    scores, boxes = dense_predictions()
    crossing = {**scene.TWO, "boxes": scene.TWO["boxes"] * torch.tensor([1, 1, 1, 1, -1.0])}
    both = {name: torch.cat([scene.TWO[name], crossing[name]]) for name in ("boxes", "labels")}
    targets = scene.targets([both, scene.CROWDED, scene.NOTHING])
    rules = {"topk": 6, "alpha": 0.5, "beta": 2.0}
    with matchloss.reference() if path == "plain" else torch.no_grad():
        found = TaskAlignedAssigner(**rules, overlap=kind)(scores, boxes, POINTS.centers, targets)
    for b, (index, soft) in enumerate(slow_task_aligned(scores, boxes, targets, **rules, kind=kind)):
        assert torch.equal(found.target_index[b], index)
        assert_close(found.scores[b], soft, rtol=1e-6, atol=1e-8)
    assert (found.target_index >= 0).sum(1).tolist()[2] == 0
    assert (found.target_index[0] >= 0).sum() > 12


def test_task_aligned_with_all_angles_0_is_the_upright_one() -> None:
    scores, boxes = dense_predictions(turned=False)
    targets = scene.upright(scene.targets())
    four = scene.without_angles(targets)
    corners = torch.cat([boxes[..., :2] - boxes[..., 2:4] / 2, boxes[..., :2] + boxes[..., 2:4] / 2], -1)
    for options in ({}, {"min_side": 30.0}, {"reach": 4.0}, {"min_points": 9, "second_topk": 5}, {"conflict": "all"}):
        assigner = TaskAlignedAssigner(**options)
        wanted = assigner(scores, corners, POINTS.centers, four, strides=POINTS.strides)
        got = assigner(scores, boxes, POINTS.centers, targets, strides=POINTS.strides)
        for name, values in got._asdict().items():
            assert_close(values, getattr(wanted, name), msg=lambda m, n=name, o=options: f"{n} {o}: {m}")
        assert (got.target_index >= 0).any()
        assert got.ignore.any()


def test_points_in_a_turned_crowd_are_ignored_and_those_beside_it_are_not() -> None:
    scores, boxes = dense_predictions()
    found = TaskAlignedAssigner()(scores, boxes, POINTS.centers, scene.targets())
    x, y, width, height, angle = scene.CROWD
    apart = POINTS.centers - torch.tensor([x, y], dtype=torch.float64)
    along = apart @ torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
    down = apart @ torch.tensor([-math.sin(angle), math.cos(angle)], dtype=torch.float64)
    in_crowd = (along.abs() < width / 2) & (down.abs() < height / 2)
    assert torch.equal(found.ignore[1], in_crowd & (found.target_index[1] < 0))
    assert in_crowd.sum() > 10
    assert not found.ignore[[0, 2]].any()
    assert (found.target_index[1] != 1).all()


def test_broken_and_negative_rotated_boxes_are_never_positive() -> None:
    scores, boxes = dense_predictions()
    first = TaskAlignedAssigner()(scores, boxes, POINTS.centers, scene.targets())
    held = first.target_index >= 0
    for place, bad in ((4, torch.nan), (2, torch.inf), (0, -torch.inf)):
        broken = boxes.clone()
        broken[..., place] = torch.where(held, bad, boxes[..., place])
        for path in ("fast", "plain"):
            with matchloss.reference() if path == "plain" else torch.no_grad():
                found = TaskAlignedAssigner()(scores, broken, POINTS.centers, scene.targets())
            assert (found.target_index[held] < 0).all()
    targets = scene.targets()
    targets.boxes[0, 0, 2] = -5
    assert (TaskAlignedAssigner()(scores, boxes, POINTS.centers, targets).target_index[0] != 0).all()


def test_task_aligned_reads_nothing_on_the_host() -> None:
    scores, boxes = (values.to("meta") for values in dense_predictions())
    targets = mapped(scene.targets(), lambda values: values.to("meta"))
    with NoHostReads():
        for kind in ("iou", "probiou"):
            found = TaskAlignedAssigner(overlap=kind, min_points=2)(scores, boxes, POINTS.centers.to("meta"), targets)
            assert found.target_index.shape == boxes.shape[:2]


def test_what_does_not_fit_task_aligned_is_one_sentence() -> None:
    scores, boxes = dense_predictions()
    centers, targets = POINTS.centers, scene.targets()
    with pytest.raises(ValueError, match=r"^TaskAlignedAssigner: expected boxes of shape \(3, \d+, 5\), got"):
        TaskAlignedAssigner()(scores, boxes[..., :4], centers, targets)
    with pytest.raises(ValueError, match=r"^TaskAlignedAssigner: expected overlap .* 'iou', 'probiou', got 'ciou'$"):
        TaskAlignedAssigner.yolov8()(scores, boxes, centers, targets)
    with pytest.raises(ValueError, match=r"^TaskAlignedAssigner: expected overlap .* 'iou', 'ciou', got 'probiou'$"):
        TaskAlignedAssigner(overlap="probiou")(scores, boxes[..., :4], centers, scene.without_angles(targets))
