"""Task-aligned assignment by hand: the textbook example, a test for each row of the table of variants, the options."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

import matchloss
from matchloss.assigners import TaskAlignedAssigner
from matchloss.types import Assignment, Targets

VARIANTS = {
    "tood": TaskAlignedAssigner.tood(),
    "ppyoloe": TaskAlignedAssigner.ppyoloe(),
    "yolov8": TaskAlignedAssigner.yolov8(),
}


def options_of(assigner: TaskAlignedAssigner, **changes: Any) -> TaskAlignedAssigner:
    return TaskAlignedAssigner(**(vars(assigner) | changes))


def assign(
    assigner: TaskAlignedAssigner,
    scores: Any,
    boxes: Any,
    points: Any,
    targets: Any,
    labels: Any = None,
    strides: Tensor | None = None,
    **fields: Tensor,
) -> Assignment:
    """One image, by the fast and by the plain form, which must agree."""
    ends = torch.tensor(targets, dtype=torch.float32).view(-1, 4)
    classes = torch.zeros(len(ends), dtype=torch.long) if labels is None else torch.tensor(labels)
    padded = Targets.from_list([{"boxes": ends, "labels": classes}])._replace(**fields)
    values = torch.tensor(scores, dtype=torch.float32)
    inputs = (
        values.view(1, len(values), -1),
        torch.tensor(boxes, dtype=torch.float32).view(1, -1, 4),
        torch.tensor(points, dtype=torch.float32).view(-1, 2),
        padded,
    )
    fast = assigner(*inputs, strides=strides)
    with matchloss.reference():
        plain = assigner(*inputs, strides=strides)
    for name in ("target_index", "labels", "ignore"):
        assert torch.equal(getattr(fast, name), getattr(plain, name)), name
    torch.testing.assert_close(fast.scores, plain.scores, rtol=1e-6, atol=1e-7)
    return Assignment(*(tensor[0] for tensor in plain))


# The textbook example: a car and a person; A and C predict the car, B the person.
BOXES = [[0, 0, 100, 60], [200, 0, 300, 40], [0, 0, 100, 10]]
CENTERS = [[50, 30], [250, 20], [50, 5]]
SCORES = [[0.9, 0.05], [0.1, 0.3], [0.2, 0.1]]
CAR_AND_PERSON = [[0, 0, 100, 100], [200, 0, 300, 100]]


def test_textbook_with_a_threshold() -> None:
    result = assign(TaskAlignedAssigner(topk=1, min_overlap=0.5), SCORES, BOXES, CENTERS, CAR_AND_PERSON, labels=[0, 1])
    assert result.target_index.tolist() == [0, -1, -1]
    assert result.labels.tolist() == [0, -1, -1]
    assert result.scores.tolist() == pytest.approx([0.6, 0, 0])
    assert not result.ignore.any()


@pytest.mark.parametrize("name", VARIANTS)
def test_textbook_with_the_rules_of(name: str) -> None:
    assigner = options_of(VARIANTS[name], overlap="iou")
    result = assign(assigner, SCORES, BOXES, CENTERS, CAR_AND_PERSON, labels=[0, 1])
    assert result.target_index.tolist() == [0, 1, 0]
    assert result.scores.tolist() == pytest.approx([0.6, 0.4, 0], abs=1e-4)
    assert 0 < result.scores[2] < 1e-4


def test_textbook_metric() -> None:
    """Soft scores of one target are as its metrics: .9 * .6^6 = .0420 and .2 * .1^6 = 2e-7."""
    result = assign(TaskAlignedAssigner(), SCORES, BOXES, CENTERS, CAR_AND_PERSON, labels=[0, 1])
    assert round(0.9 * 0.6**6, 4) == 0.0420
    assert round(0.3 * 0.4**6, 5) == 0.00123
    assert (result.scores[2] / result.scores[0]).item() == pytest.approx(2e-7 / (0.9 * 0.6**6), rel=1e-4)


def line(count: int, *, y: float = 5.0) -> list[list[float]]:
    """Points 1, 3, 5 ... on a line."""
    return [[2 * number + 1, y] for number in range(count)]


# Rows of the table, in its order.


@pytest.mark.parametrize(("name", "k"), [("tood", 13), ("ppyoloe", 13), ("yolov8", 10)])
def test_row_defaults(name: str, k: int) -> None:
    box = [0, 0, 60, 10]
    result = assign(VARIANTS[name], [0.5] * 30, [box] * 30, line(30), [box])
    assert (result.target_index == 0).sum() == k
    assert (VARIANTS[name].alpha, VARIANTS[name].beta) == ((0.5 if name == "yolov8" else 1.0), 6.0)


@pytest.mark.parametrize("name", VARIANTS)
def test_row_score_of_the_targets_own_class(name: str) -> None:
    """Its power tells α: a quarter of the probability is a quarter of the soft score, or the half of it."""
    box = [0, 0, 10, 10]
    result = assign(VARIANTS[name], [[0.9, 0.8], [1.0, 0.2]], [box] * 2, line(2), [box], labels=[1])
    assert result.scores.tolist() == pytest.approx([1, 0.5 if name == "yolov8" else 0.25], rel=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_row_overlap(name: str) -> None:
    """The left half of a square: IoU 1/2; CIoU has less, for centres 5 apart of a diagonal of √800, and the aspect."""
    wanted = 0.5
    if name == "yolov8":
        aspect = 4 / math.pi**2 * (math.atan(0.5) - math.pi / 4) ** 2
        wanted = 0.5 - 25 / 800 - aspect**2 / (0.5 + aspect)
    result = assign(VARIANTS[name], [1.0], [[0, 0, 10, 20]], [[5, 10]], [[0, 0, 20, 20]])
    assert result.scores.item() == pytest.approx(wanted, rel=1e-5)


def test_row_overlap_is_never_negative() -> None:
    """CIoU of boxes side by side is below 0; as a power of 6 it would count as high."""
    result = assign(VARIANTS["yolov8"], [1.0, 0.01], [[100, 0, 200, 10], [0, 0, 9, 9]], line(2), [[0, 0, 10, 10]])
    assert result.scores[0] == 0
    assert result.scores[1] > 0.7


@pytest.mark.parametrize(("name", "positives"), [("tood", 0), ("ppyoloe", 2), ("yolov8", 2)])
def test_rows_order_of_filters_and_its_effect(name: str, positives: int) -> None:
    """The best predictions come from points outside: taken first, they leave nothing of the target's k places."""
    box = [0, 0, 10, 10]
    scores, points = [0.9, 0.9, 0.1, 0.1], [[50, 50], [60, 60], [3, 5], [7, 5]]
    result = assign(options_of(VARIANTS[name], topk=2), scores, [box] * 4, points, [box])
    assert (result.target_index >= 0).sum() == positives
    assert result.target_index[:2].tolist() == [-1, -1]


@pytest.mark.parametrize(("name", "inside"), [("tood", [False, False, True]), ("ppyoloe", [False, True, True])])
def test_row_inside_test(name: str, inside: list[bool]) -> None:
    """On the side, by 0.005 and by 0.02 of a pixel inside."""
    target = [0, 0, 10, 10]
    points = [[0, 5], [0.005, 5], [0.02, 5]]
    result = assign(VARIANTS[name], [0.5] * 3, [target] * 3, points, [target])
    assert (result.target_index == 0).tolist() == inside
    if name == "ppyoloe":
        assert (
            assign(VARIANTS["yolov8"], [0.5] * 3, [[0, 0, 40, 40]] * 3, points, [[0, 0, 40, 40]]).labels >= 0
        ).tolist() == inside


@pytest.mark.parametrize(("name", "count"), [("tood", 1), ("ppyoloe", 1), ("yolov8", 3)])
def test_row_small_targets_are_widened(name: str, count: int) -> None:
    """A target 4 wide and 40 high: to 16 wide, its height stays."""
    target = [18, 0, 22, 40]
    points = [[20, 20], [13, 20], [27, 20], [11, 20], [20, 45]]
    result = assign(VARIANTS[name], [0.5] * 5, [target] * 5, points, [target])
    assert (result.target_index >= 0).tolist() == [True] + [count == 3] * 2 + [False, False]


@pytest.mark.parametrize(("name", "positive"), [("tood", False), ("ppyoloe", True), ("yolov8", True)])
def test_row_positivity(name: str, positive: bool) -> None:
    result = assign(VARIANTS[name], [0.5], [[200, 200, 300, 300]], [[20, 20]], [[0, 0, 40, 40]])
    assert (result.target_index >= 0).item() is positive
    assert result.scores.item() == 0


@pytest.mark.parametrize(("name", "conflict"), [("tood", "selected"), ("ppyoloe", "all"), ("yolov8", "inside")])
def test_row_conflict(name: str, conflict: str) -> None:
    """Two targets select the first point; a third contains it, but has its one place elsewhere; a fourth is beside it.

    The prediction overlaps the fourth most, then the third, then the second.
    """
    assert VARIANTS[name].conflict == conflict
    targets = [[0, 0, 20, 20], [0, 0, 24, 20], [4, 0, 30, 20], [12, 0, 33, 20]]
    boxes, points = [[12, 0, 32, 20], [4, 0, 30, 20]], [[10, 10], [29, 10]]
    scores = [[0.9, 0.9, 0.9, 0.0], [0.0, 0.0, 1.0, 0.0]]
    result = assign(TaskAlignedAssigner(topk=1, conflict=conflict), scores, boxes, points, targets, labels=[0, 1, 2, 3])
    assert result.target_index[0] == {"selected": 1, "inside": 2, "all": 3}[conflict]


@pytest.mark.parametrize(("name", "gains"), [("tood", False), ("ppyoloe", True), ("yolov8", True)])
def test_row_after_conflict(name: str, gains: bool) -> None:
    """With one place each, the third target holds its own choice, and gains the contested point as well."""
    targets = [[0, 0, 20, 20], [0, 0, 24, 20], [4, 0, 30, 20]]
    scores = [[0.9, 0.9, 0.9], [0.0, 0.0, 1.0]]
    boxes, points = [[12, 0, 32, 20], [4, 0, 30, 20]], [[10, 10], [29, 10]]
    rules = options_of(VARIANTS[name], topk=1, overlap="iou")
    if name == "tood":
        rules = options_of(rules, topk_among="inside")  # else the first two would select no point of theirs
    result = assign(rules, scores, boxes, points, targets, labels=[0, 1, 2])
    assert (result.target_index == 2).sum() == (2 if gains else 1)


@pytest.mark.parametrize(("name", "eps"), [("tood", 1e-7), ("ppyoloe", 1e-9), ("yolov8", 1e-9)])
def test_row_normalisation_eps(name: str, eps: float) -> None:
    """Seen where the metric is as small: s = 1e-3, u = 0.1, t = 1e-9 (or by a root of s)."""
    rules = options_of(VARIANTS[name], overlap="iou")
    result = assign(rules, [1e-3], [[0, 0, 100, 10]], [[50, 5]], [[0, 0, 100, 100]])
    metric = 1e-3**rules.alpha * 0.1**6
    assert result.scores.item() == pytest.approx(metric / (metric + eps) * 0.1, rel=1e-4)


@pytest.mark.parametrize("name", VARIANTS)
def test_rows_padding_and_no_targets(name: str) -> None:
    """Background all over, in the dtypes of every other result."""
    none = torch.zeros(1, 0, 4)
    targets = Targets(
        *(torch.zeros(1, 0, dtype=d) for d in (torch.long,)),
        none,
        *(torch.zeros(1, 0, dtype=torch.bool),) * 2,
        torch.zeros(1, 0),
    )
    for form in ("fast", "plain"):
        with matchloss.reference() if form == "plain" else torch.no_grad():
            result = VARIANTS[name](torch.rand(1, 5, 3), torch.rand(1, 5, 4), torch.rand(5, 2), targets)
        assert [tensor.dtype for tensor in result] == [torch.int64, torch.int64, torch.float32, torch.bool]
        assert (result.target_index == -1).all()
        assert (result.labels == -1).all()
        assert not result.scores.any()
        assert not result.ignore.any()


@pytest.mark.parametrize("name", VARIANTS)
def test_row_padding_is_a_mask_not_a_sum(name: str) -> None:
    """A box partly outside of the image, of coordinates that sum up to less than 0, is a box like any other."""
    result = assign(VARIANTS[name], [0.5], [[-90, -10, 50, 40]], [[10, 10]], [[-90, -10, 50, 40]])
    assert result.target_index.item() == 0


@pytest.mark.parametrize("name", VARIANTS)
def test_row_few_anchors(name: str) -> None:
    box = [0, 0, 40, 40]
    assert (assign(VARIANTS[name], [0.5] * 3, [box] * 3, line(3), [box]).target_index == 0).all()


@pytest.mark.parametrize("name", VARIANTS)
def test_row_ignored_boxes(name: str) -> None:
    """Never matched; what lies in them is no negative, unless it is a positive."""
    crowd, car = [0, 0, 40, 40], [20, 0, 60, 40]
    flags = {"ignore": torch.tensor([[True, False]])}
    result = assign(
        VARIANTS[name], [0.5] * 4, [car] * 4, [[10, 10], [30, 10], [50, 10], [90, 90]], [crowd, car], **flags
    )
    assert result.target_index.tolist() == [-1, 1, 1, -1]
    assert result.ignore.tolist() == [True, False, False, False]


# Options that no variant has.


def test_second_topk_keeps_the_best_of_what_is_left() -> None:
    box = [0, 0, 40, 40]
    rules = TaskAlignedAssigner(second_topk=2)
    result = assign(rules, [0.2, 0.9, 0.5, 0.9, 0.9], [box] * 5, line(5), [box])
    assert result.target_index.tolist() == [-1, 0, -1, 0, -1]


def test_min_points_serves_a_target_between_the_points() -> None:
    tiny, points = [9, 9, 11, 11], [[4, 4], [12, 4], [4, 12], [14, 14]]
    boxes, scores = [[0, 0, 30, 30]] * 4, [0.5] * 4
    assert (assign(TaskAlignedAssigner(), scores, boxes, points, [tiny]).target_index == -1).all()
    result = assign(TaskAlignedAssigner(min_points=2), scores, boxes, points, [tiny])
    # Squared distances from (10, 10): 72, 40, 40, 32.
    assert result.target_index.tolist() == [-1, 0, -1, 0]


def test_min_points_takes_only_what_others_can_spare() -> None:
    """Twins share three points: the conflict gives all to the first, which keeps its best one of them."""
    twins = [[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]]
    boxes, points = [[0, 0, 10, 10]] * 3, [[5, 5], [3, 5], [8, 5]]
    result = assign(TaskAlignedAssigner(min_points=1), [0.5, 0.9, 0.1], boxes, points, twins)
    assert result.target_index.tolist() == [1, 0, 2]


def test_min_points_with_too_few_points() -> None:
    result = assign(TaskAlignedAssigner(min_points=9), [0.5] * 3, [[0, 0, 9, 9]] * 3, line(3), [[0, 0, 9, 9]] * 2)
    assert result.target_index.tolist() == [0, 0, 0]  # the first holds fewer than 9, so none is to spare


def test_reach_leaves_out_levels_that_cannot_express_the_box() -> None:
    target = [0, 0, 100, 100]
    strides = torch.tensor([8.0, 8.0, 32.0])
    rules = TaskAlignedAssigner(reach=7.0)  # 56 pixels at stride 8
    result = assign(rules, [0.5] * 3, [target] * 3, [[50, 50], [40, 50], [40, 50]], [target], strides=strides)
    assert result.target_index.tolist() == [0, -1, 0]
    with pytest.raises(ValueError, match=r"TaskAlignedAssigner: .*strides"):
        assign(rules, [0.5], [target], [[50, 50]], [target])


def test_min_overlap_is_a_floor_not_above() -> None:
    result = assign(
        TaskAlignedAssigner(min_overlap=0.5), [0.5] * 2, [[0, 0, 10, 5], [0, 0, 10, 4]], line(2), [[0, 0, 10, 10]]
    )
    assert result.target_index.tolist() == [0, -1]


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 6.0), (1.0, 0.0), (0.3, 2.7), (2.0, 3.0), (4.0, 8.0)])
def test_powers(alpha: float, beta: float) -> None:
    rules = TaskAlignedAssigner(alpha=alpha, beta=beta)
    result = assign(rules, [0.5, 0.8], [[0, 0, 10, 5], [0, 0, 10, 4]], line(2), [[0, 0, 10, 10]])
    metric = torch.tensor([0.5**alpha * 0.5**beta, 0.8**alpha * 0.4**beta])
    torch.testing.assert_close(result.scores, metric / metric.max() * 0.5, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"topk": 0}, "topk"),
        ({"topk": 2.5}, "topk"),
        ({"alpha": -1.0}, "alpha"),
        ({"beta": float("nan")}, "beta"),
        ({"overlap": "giou"}, "overlap"),
        ({"topk_among": "some"}, "topk_among"),
        ({"conflict": "first"}, "conflict"),
        ({"margin": -0.1}, "margin"),
        ({"second_topk": 0}, "second_topk"),
        ({"min_side": 0.0}, "min_side"),
        ({"min_overlap": -0.5}, "min_overlap"),
        ({"min_points": 0}, "min_points"),
        ({"reach": 0.0}, "reach"),
        ({"eps": 0.0}, "eps"),
    ],
)
def test_options_are_checked(options: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=rf"TaskAlignedAssigner: expected {word} "):
        TaskAlignedAssigner(**options)


def test_what_is_no_region_ignores_nothing() -> None:
    """Padding, whatever it is marked as, and a region without bounds; a proper one beside them does."""
    everywhere = [-math.inf, -math.inf, math.inf, math.inf]
    rows = [[0, 0, 3, 10], [0, 0, 99, 99], everywhere, [6, 0, 99, 99]]
    valid, ignore = torch.tensor([[True, False, True, True]]), torch.tensor([[False, True, True, True]])
    result = assign(VARIANTS["tood"], [0.9] * 5, [[0, 0, 3, 10]] * 5, line(5), rows, valid=valid, ignore=ignore)
    assert result.target_index.tolist() == [0, -1, -1, -1, -1]
    assert result.ignore.tolist() == [False, False, False, True, True]


@pytest.mark.parametrize("form", [nullcontext, matchloss.reference])
def test_a_class_that_is_not_there_is_named(form: Callable[[], AbstractContextManager[None]]) -> None:
    targets = Targets.from_list([{"boxes": torch.tensor([[0.0, 0, 9, 9]]), "labels": torch.tensor([7])}])
    boxes, points = torch.tensor([[[0.0, 0, 9, 9]]]), torch.tensor([[4.0, 4.0]])
    wrong = r"TaskAlignedAssigner: expected labels of targets in \[0, 1\), got 7"
    with form(), pytest.raises(ValueError, match=wrong):
        VARIANTS["yolov8"](torch.full((1, 1, 1), 0.5), boxes, points, targets)


def test_targets_of_unequal_parts_are_rejected() -> None:
    for fields in ({"valid": torch.ones(1, 2, dtype=torch.bool)}, {"ignore": torch.ones(1, 0, dtype=torch.bool)}):
        with pytest.raises(ValueError, match="TaskAlignedAssigner: expected equal shapes, got labels="):
            assign(VARIANTS["yolov8"], [0.5], [[0, 0, 9, 9]], line(1), [[0, 0, 9, 9]], **fields)


def test_repr_and_equality() -> None:
    assert repr(TaskAlignedAssigner.yolov8()).startswith(
        "TaskAlignedAssigner(topk=10, alpha=0.5, beta=6.0, overlap='ciou'"
    )
    assert TaskAlignedAssigner(conflict="all", margin=1e-9) == TaskAlignedAssigner.ppyoloe()
