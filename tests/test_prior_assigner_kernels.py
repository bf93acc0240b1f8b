"""The CPU kernels of ATSS and SimOTA against the plain forms, to the last bit: odd anchors and scores, pyramids."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import matchloss
from inputs import generator
from matching_scenes import FLAVOURS, matching_scene
from matchloss import Assignment, Targets
from matchloss.assigners import ATSSAssigner, SimOTAAssigner
from matchloss.geometry import grid_anchors, grid_points

pytest.importorskip("numba")

from matchloss.kernels import nearest_centers_cpu, simota_cpu
from matchloss.kernels.simota_pairs_cpu import Numbers, least_cost, pair_cost

SIZES, STRIDES = [(40, 40), (20, 20), (10, 10)], (8, 16, 32)
ATSS = (
    ATSSAssigner(),
    ATSSAssigner(topk=3, strict=True),
    ATSSAssigner(topk=60),
    ATSSAssigner(conflict="all", min_points=2),
)
SIMOTA = (
    SimOTAAssigner(),
    SimOTAAssigner.yolox(),
    SimOTAAssigner.mmdet(),
    SimOTAAssigner(candidates="center", candidate_topk=3, min_points=2),
    SimOTAAssigner(center_radius=0.8, iou_weight=0.0, conflict="all"),
)
over_atss = pytest.mark.parametrize("assigner", ATSS, ids=str)
over_simota = pytest.mark.parametrize("assigner", SIMOTA, ids=str)
over_flavours = pytest.mark.parametrize("flavour", FLAVOURS)


def same_as_plain(assigner: Callable[..., Assignment], *args: Any, **options: Any) -> Assignment:
    found = assigner(*args, **options)
    with matchloss.reference():
        plain = assigner(*args, **options)
    for name, one, other in zip(found._fields, found, plain, strict=True):
        assert torch.equal(one, other), name
    return found


def rand(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=generator(seed))


def many_targets(seed: int, count: int) -> Targets:
    """On a page of 320 pixels, half of them smaller than a stride."""
    centers, sides = 320 * rand(seed, 2, count, 2), 3 * 40 ** rand(seed + 1, 2, count, 2)
    boxes = torch.cat([centers - sides / 2, centers + sides / 2], -1)
    real = rand(seed + 2, 2, count) < 0.9
    labels = torch.randint(0, 4, (2, count), generator=generator(seed))
    return Targets(labels, boxes, real, rand(seed + 3, 2, count) < 0.1, torch.ones(2, count))


@over_flavours
@over_atss
def test_atss_of_anchors_in_any_order(assigner: ATSSAssigner, flavour: str) -> None:
    """On a grid, scattered, several at a place, and not finite."""
    for seed in range(6):
        scene = matching_scene(seed, flavour, targets=6 + seed)
        anchors, targets = scene.anchors.float(), scene.targets._replace(boxes=scene.targets.boxes.float())
        scattered = anchors + 5 * torch.randn(anchors.shape, generator=generator(seed))
        stacked = anchors.repeat_interleave(3, 0)[: len(anchors)]
        turned = anchors[torch.randperm(len(anchors), generator=generator(seed))]
        broken = anchors.clone()
        broken[::4, 0], broken[1::7], broken[2::9] = torch.nan, torch.inf, 1e30
        for some in (anchors, scattered, stacked, turned, broken, -broken):
            same_as_plain(assigner, some, scene.counts, targets)
        same_as_plain(assigner, anchors, (0, len(anchors), 0), targets)


@over_atss
def test_atss_of_a_pyramid(assigner: ATSSAssigner) -> None:
    anchors = grid_anchors(SIZES, STRIDES, scales=(8,), ratios=(1,))
    found = same_as_plain(assigner, anchors, (1600, 400, 100), many_targets(0, 60))
    assert (found.target_index >= 0).any()


@over_flavours
@over_simota
def test_simota_of_odd_scores_and_boxes(assigner: SimOTAAssigner, flavour: str) -> None:
    """0, 1, none of these, of the least there are; boxes without bounds."""
    for seed in range(6):
        scene = matching_scene(seed, flavour, targets=6 + seed)
        scores, boxes, targets = scene.scores.float(), scene.boxes.float(), scene.targets
        targets = targets._replace(boxes=targets.boxes.float())
        sure, wrong, huge = scores.clone(), scores.clone(), boxes.clone()
        sure[:, ::3], sure[:, 1::4, 0] = 0.0, 1.0
        wrong[:, 2::9, 1], wrong[:, 5::9, 1], wrong[0, 4], wrong[1, 3, 0] = 1.5, -0.5, -torch.inf, torch.nan
        huge[:, ::6] *= 1e38
        for p, b in ((sure, boxes), (wrong, boxes), (scores * 1e-40, boxes), (scores, huge)):
            same_as_plain(assigner, p, b, scene.points.float(), targets, strides=scene.strides.float())


@over_simota
@pytest.mark.parametrize("sureness", [1.0, 8.0])
def test_simota_of_a_pyramid(assigner: SimOTAAssigner, sureness: float) -> None:
    """Many targets have fewer points near them than they look at, and go on to others."""
    pyramid = grid_points(SIZES, STRIDES)
    count = len(pyramid.centers)
    reach = 3 * pyramid.strides[:, None] * rand(9, 2, count, 4)
    boxes = torch.cat([pyramid.centers - reach[..., :2], pyramid.centers + reach[..., 2:]], -1)
    scores = rand(8, 2, count, 4) ** sureness
    for targets in (many_targets(4, 60), many_targets(5, 7)):
        found = same_as_plain(assigner, scores, boxes, pyramid.centers, targets, strides=pyramid.strides)
        assert (found.target_index >= 0).any()


def test_the_bound_of_a_cost_is_below_it() -> None:
    """And not far below: else it would spare nothing."""
    numbers = Numbers(np.float32(2.5), False, np.float32(3), np.float32(1e-8))
    apart = 3 * np.log(np.float64(numbers.eps))
    for score in np.float32([0, 1e-45, 1e-40, 1e-38, *np.geomspace(1e-30, 1, 200), *(1 - np.geomspace(1e-7, 0.9, 50))]):
        for background in np.float32([0, 1, 80, 8000]):
            cost = pair_cost(numbers, background, score, np.float32(0))
            bound = least_cost(background, score, apart)
            assert bound <= cost
            assert bound > cost - 0.2 or score < 1e-37 or cost == 0


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    anchors, pyramid = grid_anchors(SIZES, STRIDES, scales=(8,), ratios=(1,)), grid_points(SIZES, STRIDES)
    targets, scores = many_targets(6, 40), rand(7, 2, 2100, 4)
    boxes = anchors + 9 * rand(10, 2, 2100, 4)

    def both() -> list[Assignment]:
        simota = SimOTAAssigner.yolox()(scores, boxes, pyramid.centers, targets, strides=pyramid.strides)
        return [ATSSAssigner()(anchors, (1600, 400, 100), targets), simota]

    alone = both()
    monkeypatch.setattr(nearest_centers_cpu, "PAIRS_A_THREAD", 1)
    monkeypatch.setattr(simota_cpu, "PAIRS_A_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for one, other in zip(alone, both(), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_which_form_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(nearest_centers_cpu, "nearest_of_levels", refuse)
    monkeypatch.setattr(simota_cpu, "choose_points", refuse)
    scene = matching_scene(0)
    strides, points = scene.strides, scene.points

    def assign(dtype: torch.dtype) -> list[Callable[[], Assignment]]:
        scores, boxes = scene.scores.to(dtype), scene.boxes.to(dtype)
        return [
            lambda: ATSSAssigner()(scene.anchors.to(dtype), scene.counts, scene.targets),
            lambda: SimOTAAssigner()(scores, boxes, points.to(dtype), scene.targets, strides=strides.to(dtype)),
        ]

    for call in (*assign(torch.float32), *assign(torch.float16)):
        with pytest.raises(NotImplementedError):
            call()
        with matchloss.reference():
            call()
    for call in assign(torch.float64):
        call()
