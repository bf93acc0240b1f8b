"""MaxIoUAssigner: thresholds, low-quality matches, conflicts, ignore regions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

import matchloss
from matching_scenes import FLAVOURS, matching_scene
from matchloss import Targets
from matchloss.assigners import MaxIoUAssigner
from matchloss.geometry import grid_anchors
from reference import assigners as ref

OPTIONS = (
    {},
    {"conflict": "last"},
    {"conflict": "own"},
    {"low_quality_matches": False},
    {"positive_overlap": 0.3, "negative_overlap": 0.2, "min_low_quality_overlap": 0.15},
)


def one_image(boxes: list[list[float]], ignore: list[bool] | None = None) -> Targets:
    count = len(boxes)
    flags = torch.tensor(ignore or [False] * count, dtype=torch.bool)
    return Targets.from_list(
        [
            {
                "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
                "labels": torch.arange(count),
                "ignore": flags,
            }
        ]
    )


def anchors(*boxes: list[float]) -> Tensor:
    return torch.tensor(boxes, dtype=torch.float32)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("flavour", FLAVOURS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_equals_the_reference(options: dict, flavour: str, seed: int) -> None:
    scene = matching_scene(seed, flavour)
    found = MaxIoUAssigner(**options)(scene.anchors, scene.targets)
    names = {"positive_overlap": "positive", "low_quality_matches": "low_quality", "min_low_quality_overlap": "least"}
    plain = {names.get(name, name): value for name, value in options.items() if name != "negative_overlap"}
    for image in range(3):
        overlap = scene.overlaps(scene.anchors)[image].numpy()
        owner, best = ref.max_iou(overlap, scene.usable[image].numpy(), **plain)
        assert found.target_index[image].tolist() == owner.tolist()
        between = (owner < 0) & (best >= options.get("negative_overlap", 0.4))
        ignored = between | ((owner < 0) & covered(scene, image, 0.5))
        assert found.ignore[image].tolist() == ignored.tolist()
        labels = np.where(owner < 0, -1, scene.targets.labels[image].numpy()[owner])
        assert found.labels[image].tolist() == labels.tolist()
        assert found.scores[image].tolist() == (owner >= 0).astype(float).tolist()


def covered(scene, image: int, least: float) -> np.ndarray:
    """Anchors of whose area an ignore region has so much."""
    result = np.zeros(len(scene.anchors), bool)
    flags = scene.targets.valid[image] & scene.targets.ignore[image] & scene.targets.boxes[image].isfinite().all(-1)
    for x1, y1, x2, y2 in scene.targets.boxes[image][flags].tolist():
        for a, (u1, v1, u2, v2) in enumerate(scene.anchors.tolist()):
            width, height = min(x2, u2) - max(x1, u1), min(y2, v2) - max(y1, v1)
            result[a] |= width > 0 and height > 0 and width * height / ((u2 - u1) * (v2 - v1)) >= least
    return result


def test_thresholds_are_positive_from_the_upper_and_background_below_the_lower() -> None:
    """A target of 10 x 1, anchors that share 4, 5 and 3.9 of it: IoU 0.4, 0.5 and 0.39."""
    found = MaxIoUAssigner(low_quality_matches=False)(
        anchors([0, 0, 4, 1], [0, 0, 5, 1], [0, 0, 3.9, 1]), one_image([[0, 0, 10, 1]])
    )
    assert found.target_index.tolist() == [[-1, 0, -1]]
    assert found.ignore.tolist() == [[True, False, False]]


def test_a_target_takes_all_its_tied_best_anchors() -> None:
    found = MaxIoUAssigner()(anchors([0, 0, 2, 1], [8, 0, 10, 1], [4, 0, 5, 1]), one_image([[0, 0, 10, 1]]))
    assert found.target_index.tolist() == [[0, 0, -1]]


def test_a_target_that_no_anchor_touches_gets_none() -> None:
    found = MaxIoUAssigner()(anchors([0, 0, 2, 1], [8, 0, 10, 1]), one_image([[50, 50, 60, 60]]))
    assert found.target_index.tolist() == [[-1, -1]]
    assert not found.ignore.any()


def test_low_quality_matches_need_their_least_overlap() -> None:
    scene = anchors([0, 0, 2, 1]), one_image([[0, 0, 10, 1]])
    assert MaxIoUAssigner(min_low_quality_overlap=0.2)(*scene).target_index.tolist() == [[0]]
    assert MaxIoUAssigner(min_low_quality_overlap=0.21)(*scene).target_index.tolist() == [[-1]]


@pytest.mark.parametrize(
    ("conflict", "order", "wanted"),
    [
        # Target 0 fits anchor 0 best and well; targets 1 and 2 are small, and anchor 0 is the only one they touch.
        ("overlap", (0, 1, 2), 0),
        ("last", (0, 1, 2), 2),
        ("last", (2, 1, 0), 0),
        ("own", (0, 1, 2), 0),
        ("overlap", (1, 2), 1),
        ("last", (1, 2), 2),
        ("own", (1, 2), 1),
        # Target 3 has a better anchor; anchor 0 is only the best one of the small target 2.
        ("overlap", (3, 2), 2),
        ("last", (3, 2), 2),
        ("own", (3, 2), 3),
    ],
)
def test_who_gets_an_anchor_that_is_the_best_of_several(conflict: str, order: tuple[int, ...], wanted: int) -> None:
    boxes = [[0, 0, 10, 9], [0, 0, 4, 5], [0, 0, 4, 4], [0, 0, 10, 14]]
    scene = anchors([0, 0, 10, 10], [0, 0.0, 10, 14]) if 3 in order else anchors([0, 0, 10, 10])
    found = MaxIoUAssigner(conflict=conflict)(scene, one_image([boxes[row] for row in order]))
    assert order[int(found.target_index[0, 0])] == wanted


@pytest.mark.parametrize("conflict", ["overlap", "last", "own"])
def test_kernel_equals_plain_on_nine_anchors_a_place(conflict: str) -> None:
    anchors = grid_anchors([(12, 12), (6, 6), (3, 3)], [4, 8, 16], scales=[1.0, 2.0, 3.0])
    for number, flavour in enumerate(FLAVOURS * 2):
        targets = matching_scene(number, flavour, targets=30).targets
        targets = targets._replace(boxes=targets.boxes.float())
        assigner = MaxIoUAssigner(conflict=conflict, positive_overlap=0.4, negative_overlap=0.3)
        fast = assigner(anchors, targets)
        with matchloss.reference():
            plain = assigner(anchors, targets)
        assert all(torch.equal(one, other) for one, other in zip(fast, plain, strict=True))


def test_ignore_regions_ignore_what_they_cover_but_no_positive() -> None:
    """The region covers a quarter, a half, and all of an anchor; the last one also fits an object."""
    found = MaxIoUAssigner()(
        anchors([17, 0, 21, 4], [18, 0, 22, 4], [30, 0, 34, 4], [40, 0, 44, 4]),
        one_image([[20, 0, 50, 4], [40, 0, 44, 4]], [True, False]),
    )
    assert found.target_index.tolist() == [[-1, -1, -1, 1]]
    assert found.ignore.tolist() == [[False, True, True, False]]


def test_the_order_of_targets_does_not_matter_by_default() -> None:
    scene = matching_scene(3, "crowd")
    turn = torch.tensor([4, 2, 0, 5, 1, 3])
    turned = scene.targets._replace(
        **{name: getattr(scene.targets, name)[:, turn] for name in ("labels", "boxes", "valid", "ignore", "weights")}
    )
    found, other = (MaxIoUAssigner()(scene.anchors, targets) for targets in (scene.targets, turned))
    back = torch.where(other.target_index < 0, -1, turn[other.target_index.clamp(min=0)])
    assert torch.equal(found.target_index, back)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positive_overlap": 0.3}, "expected 0 < negative_overlap <= positive_overlap <= 1, got 0.4 and 0.3"),
        ({"negative_overlap": 0.0}, "expected 0 < negative_overlap"),
        ({"conflict": "first"}, "expected conflict to be one of 'overlap', 'last', 'own', got 'first'"),
        ({"ignore_overlap": 0.0}, "expected ignore_overlap > 0"),
        ({"min_low_quality_overlap": -1.0}, "expected min_low_quality_overlap >= 0"),
    ],
)
def test_options_are_checked(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MaxIoUAssigner(**options)
