"""SimOTAAssigner: points in question, costs, dynamic count, conflicts, least number of points."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import Tensor

import matchloss
from matching_scenes import CLASSES, FLAVOURS, matching_scene
from matchloss import Assignment, Targets
from matchloss.assigners import SimOTAAssigner
from matchloss.geometry import box_iou, pairwise
from reference import assigners as ref

ASSIGNERS = (
    SimOTAAssigner(),
    SimOTAAssigner.yolox(),
    SimOTAAssigner.mmdet(),
    SimOTAAssigner(candidates="center", candidate_topk=3, min_points=2),
    SimOTAAssigner(center_radius=0.8, iou_weight=0.0, conflict="all", min_points=1),
)
POINTS, STRIDES = torch.tensor([[4.0, 4.0], [12.0, 4.0], [20.0, 4.0], [28.0, 4.0]]), torch.full((4,), 8.0)


@pytest.fixture(autouse=True, params=["kernel", "plain"])
def _form(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "kernel":
        yield
    else:
        with matchloss.reference():
            yield


def one_image(*boxes: list[float], labels: list[int] | None = None) -> Targets:
    return Targets.from_list(
        [{"boxes": torch.tensor(boxes).float().reshape(-1, 4), "labels": torch.tensor(labels or [0] * len(boxes))}]
    )


def assign(assigner: SimOTAAssigner, predicted: list[list[float]], targets: Targets, *, probs: Tensor) -> Assignment:
    count = len(predicted)
    boxes = torch.tensor(predicted).float()[None]
    return assigner(probs.reshape(1, count, -1), boxes, POINTS[:count], targets, strides=STRIDES[:count])


@pytest.mark.parametrize("assigner", ASSIGNERS, ids=str)
@pytest.mark.parametrize("flavour", FLAVOURS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_equals_the_reference(assigner: SimOTAAssigner, flavour: str, seed: int) -> None:
    scene = matching_scene(seed, flavour)
    found = assigner(scene.scores, scene.boxes, scene.points, scene.targets, strides=scene.strides)
    for image in range(3):
        finite = scene.boxes[image].isfinite().all(-1)
        overlap = torch.where(finite, scene.overlaps(scene.boxes)[image], torch.nan).numpy()
        owner = ref.simota(
            overlap,
            scene.scores[image].numpy(),
            scene.targets.labels[image].numpy(),
            scene.targets.boxes[image].numpy(),
            scene.usable[image].numpy(),
            scene.points.numpy(),
            scene.strides.numpy(),
            radius=assigner.center_radius,
            center_only=assigner.candidates == "center",
            topk=assigner.candidate_topk,
            weight=assigner.iou_weight,
            eps=assigner.eps,
            conflict=assigner.conflict,
            least=assigner.min_points,
        )
        assert found.target_index[image].tolist() == owner.tolist()
        for a, t in enumerate(owner):
            assert found.scores[image, a].item() == (overlap[t, a] if t >= 0 else 0)


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("assigner", ASSIGNERS, ids=str)
def test_looking_at_few_points_changes_nothing(assigner: SimOTAAssigner, flavour: str) -> None:
    """The CPU's short cut against the form for devices."""
    for seed in range(20):
        scene = matching_scene(seed, flavour)
        call = (scene.scores, scene.boxes, scene.points, scene.targets)  # in double precision there is no kernel
        found = assigner(*call, strides=scene.strides)
        with matchloss.reference():
            plain = assigner(*call, strides=scene.strides)
        for one, other in zip(found, plain, strict=True):
            assert torch.equal(one, other)


def test_the_count_is_the_floor_of_the_summed_overlaps() -> None:
    """Overlaps 1, 1/2, 1/2 and 0 with one target: 2 points; with the best two alone 1; at least 1."""
    predicted = [[0, 0, 32, 8], [0, 0, 16, 8], [16, 0, 32, 8], [50, 50, 60, 60]]
    target, probs = one_image([0, 0, 32, 8]), torch.full((4, 1), 0.5)
    assert assign(SimOTAAssigner(), predicted, target, probs=probs).target_index.tolist() == [[0, 0, -1, -1]]
    few = SimOTAAssigner(candidate_topk=2)
    assert assign(few, predicted, target, probs=probs).target_index.tolist() == [[0, -1, -1, -1]]
    nothing = [[50, 50, 60, 60]] * 4
    found = assign(SimOTAAssigner(), nothing, target, probs=torch.tensor([0.1, 0.2, 0.9, 0.3]))
    assert found.target_index.tolist() == [[-1, -1, 0, -1]], "the surest one"
    assert found.scores.tolist() == [[0, 0, 0, 0]]


def test_the_cost_is_cross_entropy_and_the_logarithm_of_the_overlap() -> None:
    """By the formula over (targets, points, classes), which the assigner never makes."""
    scene = matching_scene(5, "random", batch=1)
    probs, boxes, labels = scene.scores[0], scene.boxes[0], scene.targets.labels[0]
    onehot = F.one_hot(labels, CLASSES).double()[:, None].expand(-1, len(probs), -1)
    entropy = F.binary_cross_entropy(probs.expand_as(onehot), onehot, reduction="none").sum(-1)
    cost = entropy - 3 * (pairwise(box_iou, scene.targets.boxes[0], boxes) + 1e-8).log()
    rule = SimOTAAssigner(candidate_topk=1, center_radius=1000.0, candidates="center")
    for row in range(6):
        alone = scene.targets._replace(valid=(torch.arange(6) == row)[None], ignore=torch.zeros(1, 6, dtype=torch.bool))
        found = rule(scene.scores, scene.boxes, scene.points, alone, strides=scene.strides)
        assert found.target_index[0].nonzero().tolist() != []
        assert (found.target_index[0] == row).nonzero().item() == cost[row].argmin().item()


def test_points_near_the_centre_come_before_cheaper_ones() -> None:
    """The last point fits perfectly, but is near to no centre; as inside the box it comes after all that are."""
    predicted = [[0, 0, 12, 8], [0, 0, 12, 8], [0, 0, 12, 8], [0, 0, 32, 8]]
    target, probs = one_image([0, 0, 32, 8]), torch.full((4, 1), 0.5)
    near = SimOTAAssigner(center_radius=1.0)
    assert assign(near, predicted, target, probs=probs).target_index.tolist() == [[-1, 0, 0, -1]]
    wide = SimOTAAssigner(center_radius=2.0)
    assert assign(wide, predicted, target, probs=probs).target_index.tolist() == [[0, -1, -1, 0]]
    alone = SimOTAAssigner(center_radius=1.0, candidates="center")
    assert assign(alone, predicted, target, probs=probs).target_index.tolist() == [[-1, 0, -1, -1]]


def test_costs_keep_their_digits_after_the_near_points() -> None:
    """A penalty of 1e8 in float32 would leave steps of 8 between the costs of points outside."""
    predicted = [[0, 0, 16, 8], [0, 0, 16, 8], [0, 0, 16, 8.1], [0, 0, 16, 8]]
    target = one_image([0, 0, 32, 8])
    rule = SimOTAAssigner(center_radius=0.1)  # no point is near
    found = assign(rule, predicted, target, probs=torch.tensor([0.50, 0.51, 0.5, 0.52]))
    assert found.target_index.tolist() == [[-1, -1, -1, 0]]


def test_no_target_is_left_without_a_point_it_could_have() -> None:
    """mmdetection's issue 8628: the one point of the second target is cheaper for the first, which has another."""
    predicted = [[0, 0, 16, 8], [0, 0, 16, 8], [50, 0, 60, 8], [50, 0, 60, 8]]
    targets = one_image([0, 0, 16, 8], [0, 0, 16, 9])
    probs = torch.tensor([0.5, 0.5, 0.1, 0.1])
    published = assign(SimOTAAssigner.mmdet(), predicted, targets, probs=probs).target_index[0].tolist()
    assert published.count(1) == 0
    ours = assign(SimOTAAssigner(), predicted, targets, probs=probs).target_index[0].tolist()
    assert ours.count(0) >= 1
    assert ours.count(1) >= 1


def test_equal_targets_share_the_points() -> None:
    targets = one_image(*[[0, 0, 32, 8]] * 4)
    predicted = [[0, 0, 32, 8]] * 4
    found = assign(SimOTAAssigner(), predicted, targets, probs=torch.full((4, 1), 0.5))
    assert sorted(found.target_index[0].tolist()) == [0, 1, 2, 3]


def test_a_point_of_several_goes_to_the_cheapest_of_those_or_of_all() -> None:
    """Targets 0 and 1 want point 0; to target 2 it is cheaper still, but it wants point 1."""
    few = {"candidates": "center", "min_points": None, "candidate_topk": 1, "center_radius": 9.0}
    boxes = [[0, 0, 16, 9.0], [0, 0, 16, 9.4]]
    targets = one_image([0, -8, 16, 9], [0, -8.5, 16, 9], [0, 0, 16, 9.5])
    probs = torch.tensor([0.9, 0.9])
    found = {
        rule: assign(SimOTAAssigner(conflict=rule, **few), boxes, targets, probs=probs).target_index.tolist()
        for rule in ("selected", "all")
    }
    assert found == {"selected": [[0, 2]], "all": [[2, 2]]}


def test_no_point_in_question_is_no_error() -> None:
    """YOLOX's issues 778, 1219 and 1563."""
    far = one_image([500.0, 500, 510, 510], [-90.0, -90, -80, -80])
    for rule in ASSIGNERS:
        found = assign(rule, [[0, 0, 8, 8]] * 4, far, probs=torch.full((4, 2), 0.5))
        assert found.target_index.tolist() == [[-1] * 4]


def test_sure_predictions_are_finite() -> None:
    """p = 1 of a wrong class and p = 0 of the right one cost as much as in torch's cross entropy, 100 each."""
    probs = torch.tensor([[0.0, 1.0], [0.0, 0.5], [1.0, 1.0], [0.0, 1.0]])
    predicted = [[0, 0, 16, 8]] * 4
    found = assign(SimOTAAssigner(candidate_topk=1), predicted, one_image([0, 0, 32, 8]), probs=probs)
    assert found.target_index.tolist() == [[-1, -1, 0, -1]]


def test_strides_are_read_per_point() -> None:
    """Of two points equally far from the centre, the one of the coarse level is near."""
    points, strides = torch.tensor([[4.0, 4.0], [20.0, 4.0]]), torch.tensor([4.0, 8.0])
    boxes = torch.tensor([[[8.0, 0.0, 16.0, 8.0]] * 2])
    rule = SimOTAAssigner(candidates="center", center_radius=1.5)
    found = rule(torch.full((1, 2, 1), 0.5), boxes, points, one_image([8.0, 0, 16, 8]), strides=strides)
    assert found.target_index.tolist() == [[-1, 0]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"center_radius": 0.0}, "expected center_radius > 0"),
        ({"candidates": "box"}, "expected candidates to be one of 'center', 'center_or_box', got 'box'"),
        ({"candidate_topk": 0}, "expected candidate_topk to be a whole number >= 1"),
        ({"conflict": "last"}, "expected conflict to be one of"),
        ({"min_points": 0}, "expected min_points to be a whole number >= 1"),
        ({"eps": 0.0}, "expected eps > 0"),
    ],
)
def test_options_are_checked(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SimOTAAssigner(**options)
