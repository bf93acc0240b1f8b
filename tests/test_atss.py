"""ATSSAssigner: candidates, threshold, conflicts, least number of points."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

import matchloss
from matching_scenes import FLAVOURS, matching_scene
from matchloss import Targets
from matchloss.assigners import ATSSAssigner
from matchloss.geometry import box_iou, grid_anchors, pairwise
from reference import assigners as ref

OPTIONS = (
    {},
    {"topk": 3},
    {"conflict": "all"},
    {"strict": True, "conflict": "all"},
    {"inside_margin": 2.0},
    {"min_points": 1},
    {"topk": 4, "min_points": 3},
    {"topk": 2, "conflict": "all", "min_points": 2},
)


@pytest.fixture(autouse=True, params=["kernel", "plain"])
def _form(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "kernel":
        yield
    else:
        with matchloss.reference():
            yield


def one_image(*boxes: list[float]) -> Targets:
    return Targets.from_list(
        [{"boxes": torch.tensor(boxes, dtype=torch.float32), "labels": torch.arange(len(boxes)) + 3}]
    )


def row_of_squares(count: int, side: float = 8.0) -> Tensor:
    return grid_anchors([(1, count)], [side], scales=[1.0], ratios=[1.0])


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("flavour", FLAVOURS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_equals_the_reference(options: dict, flavour: str, seed: int) -> None:
    scene = matching_scene(seed, flavour)
    found = ATSSAssigner(**options)(scene.anchors, scene.counts, scene.targets)
    centers = ((scene.anchors[:, :2] + scene.anchors[:, 2:]) / 2).numpy()
    plain = {{"inside_margin": "margin", "min_points": "least"}.get(name, name): v for name, v in options.items()}
    for image in range(3):
        overlap, boxes = scene.overlaps(scene.anchors)[image].numpy(), scene.targets.boxes[image].numpy()
        owner = ref.atss(overlap, boxes, scene.usable[image].numpy(), centers, scene.counts, **plain)
        assert found.target_index[image].tolist() == owner.tolist()


def test_the_threshold_is_mean_plus_unbiased_deviation() -> None:
    """IoU 1, 0, 0 with three anchors: 1/3 + 0.577 = 0.91. Of 0.8, 0.6, 0: 0.47 + 0.42 = 0.88, so none."""
    squares = row_of_squares(3)
    assert ATSSAssigner()(squares, [3], one_image([8, 0, 16, 8])).target_index.tolist() == [[-1, 0, -1]]
    exact = torch.tensor([[0.0, 0, 8, 8], [0.0, 0, 6, 8], [20.0, 0, 28, 8]])
    assert ATSSAssigner()(exact, [3], one_image([0, 0, 10, 8])).target_index.tolist() == [[-1, -1, -1]]


def test_a_lone_candidate_is_its_own_threshold() -> None:
    """The deviation of one number is 0 / 0; elsewhere such a target gets nothing."""
    square = row_of_squares(1)
    assert ATSSAssigner()(square, [1], one_image([2, 2, 6, 6])).target_index.tolist() == [[0]]


@pytest.mark.parametrize("count", [3, 5, 6, 7, 9])
def test_equal_candidates_reach_their_own_mean(count: int) -> None:
    """A sum of equal numbers over their count can round up, and then none would be positive."""
    same = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(count, 1)
    for step in range(1, 60):
        target = one_image([0.0, 0.0, 1 + step / 20, 1.1])
        assert ATSSAssigner()(same, [count], target).target_index.tolist() == [[0] * count]
        assert ATSSAssigner(strict=True)(same, [count], target).target_index.tolist() == [[-1] * count]


def test_candidates_are_the_nearest_of_each_level() -> None:
    """With one candidate a level, one of the two levels is above the mean plus 0.7 of the difference: none. With
    topk 2 the second nearest of the fine level comes in."""
    anchors = torch.cat([row_of_squares(4), row_of_squares(2, 16.0)])
    target = one_image([0, 0, 8, 8])
    assert ATSSAssigner(topk=1)(anchors, [4, 2], target).target_index.tolist() == [[-1] * 6]
    assert ATSSAssigner(topk=2)(anchors, [4, 2], target).target_index.tolist() == [[0, -1, -1, -1, -1, -1]]


def test_equally_near_anchors_come_in_their_order() -> None:
    """Four anchors are equally near to the target's middle: of two candidates, the first two."""
    squares = grid_anchors([(2, 2)], [8], scales=[1.0], ratios=[1.0])
    found = ATSSAssigner(topk=2)(squares, [4], one_image([0, 0, 16, 16]))
    assert found.target_index.tolist() == [[0, 0, -1, -1]]


def test_centers_on_the_border_are_outside() -> None:
    squares = row_of_squares(1)
    assert ATSSAssigner()(squares, [1], one_image([4, 0, 12, 8])).target_index.tolist() == [[-1]]
    assert ATSSAssigner()(squares, [1], one_image([3.995, 0, 12, 8])).target_index.tolist() == [[0]]
    assert ATSSAssigner(inside_margin=0.01)(squares, [1], one_image([3.995, 0, 12, 8])).target_index.tolist() == [[-1]]


def test_conflict_among_those_that_selected_or_among_all() -> None:
    """Three targets hold the middle anchor as candidate; the one that overlaps most with it has a better one.

    By hand: topk 1 on one level makes every target's nearest anchor positive if its centre is inside.
    """
    squares = torch.tensor([[0.0, 0, 8, 8], [1.0, 0, 11, 8]])
    a, b = [0.0, 0, 9, 16], [0.0, 0, 9, 20]  # nearest to both: the one whose centre is (4, 4), not (6, 4)
    c = [1.0, 0, 8, 8]  # centre 4.5: nearest to the first as well; overlaps more
    selected = ATSSAssigner(topk=1)(squares, [2], one_image(a, b))
    assert selected.target_index.tolist() == [[0, -1]], "the first of two that overlap by 1/2 and less"
    with_c = ATSSAssigner(topk=1)(squares, [2], one_image(a, b, c))
    assert with_c.target_index.tolist() == [[2, -1]]
    d = [1.0, 0, 9.5, 8]  # centre 5.25: selects the second anchor, but overlaps most with the first
    rules = {conflict: ATSSAssigner(topk=1, conflict=conflict) for conflict in ("selected", "all")}
    found = {name: rule(squares, [2], one_image(a, b, d)).target_index.tolist() for name, rule in rules.items()}
    assert found == {"selected": [[0, 2]], "all": [[2, 2]]}


def test_ignore_regions_ignore_by_the_centre_but_no_positive() -> None:
    image = {
        "boxes": torch.tensor([[0.0, 0, 16, 8], [8.0, 0, 16, 8]]),
        "labels": torch.tensor([0, 1]),
        "ignore": torch.tensor([True, False]),
    }
    found = ATSSAssigner()(row_of_squares(3), [3], Targets.from_list([image]))
    assert found.target_index.tolist() == [[-1, 1, -1]]
    assert found.ignore.tolist() == [[True, False, False]]


def test_tiny_targets_get_their_points_when_asked() -> None:
    """A target smaller than the stride, between the anchors' centres, gets none by the published rule."""
    squares = grid_anchors([(4, 4)], [8], scales=[2.0], ratios=[1.0])
    tiny = one_image([14.5, 14.5, 17.0, 17.0])
    assert (ATSSAssigner()(squares, [16], tiny).target_index >= 0).sum() == 0
    overlap = pairwise(box_iou, tiny.boxes, squares)[0, 0]
    for least in (1, 3):
        found = ATSSAssigner(min_points=least)(squares, [16], tiny).target_index[0]
        assert (found == 0).sum() == least
        assert overlap[found == 0].min() >= overlap[found < 0].max() > 0


def test_of_targets_at_one_place_each_gets_its_points() -> None:
    squares = grid_anchors([(4, 4)], [8], scales=[2.0], ratios=[1.0])
    crowd = one_image(*[[14.5, 14.5, 17.0, 17.0]] * 4)
    found = ATSSAssigner(min_points=2)(squares, [16], crowd).target_index[0]
    assert [int((found == row).sum()) for row in range(4)] == [2, 2, 2, 2]


def test_points_are_taken_from_those_that_have_more_than_enough() -> None:
    """The large target holds all four anchors; the tiny one in their midst takes one and leaves it three."""
    squares = grid_anchors([(2, 2)], [8], scales=[2.0], ratios=[1.0])
    large, tiny = [0.0, 0, 16, 16], [7.5, 7.5, 8.4, 8.4]
    before = ATSSAssigner()(squares, [4], one_image(large, tiny)).target_index[0]
    assert before.tolist() == [0, 0, 0, 0]
    assert ATSSAssigner(min_points=1)(squares, [4], one_image(large, tiny)).target_index[0].tolist().count(1) == 1
    kept = ATSSAssigner(min_points=4)(squares, [4], one_image(large, tiny)).target_index[0].tolist()
    assert kept == [0, 0, 0, 0], "nobody falls below the least number for another"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"topk": 0}, "expected topk to be a whole number >= 1, got 0"),
        ({"min_points": 1.5}, "expected min_points to be a whole number >= 1, got 1.5"),
        ({"conflict": "inside"}, "expected conflict to be one of 'selected', 'all', got 'inside'"),
        ({"inside_margin": -1.0}, "expected inside_margin >= 0"),
    ],
)
def test_options_are_checked(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ATSSAssigner(**options)


def test_counts_must_add_up() -> None:
    with pytest.raises(ValueError, match=r"expected counts that add up to 3 anchors, got \[1, 1\]"):
        ATSSAssigner()(row_of_squares(3), [1, 1], one_image([0, 0, 8, 8]))
