"""The kernels of task-aligned assignment: equal to the plain form, point by point."""

from typing import Any

import pytest
import torch
from torch import Tensor

import matchloss
from matchloss.assigners import TaskAlignedAssigner
from matchloss.kernels import task_aligned_cuda as kernels
from matchloss.types import Assignment, Targets
from task_aligned_scenes import RULES, Scene, hard_scenes, plain, random_scene, same

SMALL = {"targets": 5, "side": 48, "levels": (8,)}
"""36 points, few of them in two targets: a program takes the interpreter a tenth of a second, so does a conflict."""
PRESETS = ("tood", "ppyoloe", "yolov8", "default")
SCENES = hard_scenes()
over_rules = pytest.mark.parametrize("rules", RULES.values(), ids=RULES)


def on(device: str, scene: Scene) -> Scene:
    scores, boxes, points, targets, strides = scene
    moved = Targets(*(value.to(device) for value in targets[:5]))
    return Scene(scores.to(device), boxes.to(device), points.to(device), moved, strides.to(device))


def crowded(seed: int, device: str = "cpu", images: int = 1) -> Scene:
    """Three targets that share points, an ignore region over them, and padding; predictions are near all five."""
    scene = random_scene(seed, images=images, **SMALL)
    targets = scene.targets
    centers = torch.tensor([20.0, 26.0, 34.0, 22.0, 28.0])[:, None] + torch.tensor([0.0, 3.0])
    sides = torch.tensor([[18.0, 20.0], [20.0, 14.0], [17.0, 17.0], [30.0, 30.0], [18.0, 18.0]]) / 2
    ignore = torch.tensor([False, False, False, True, False]).expand(images, -1)
    boxes = torch.cat([centers - sides, centers + sides], -1).expand(images, -1, -1)
    real = torch.tensor([True, True, True, True, False]).expand(images, -1)
    rng = torch.Generator().manual_seed(seed)
    # Of the two contested points one predicts a target that does not contain it, the other the ignore region.
    near = boxes[:, (torch.arange(len(scene.points)) + 2) % 5] + 8 * torch.rand(scene.boxes.shape, generator=rng) - 4
    targets = targets._replace(boxes=boxes, valid=real, ignore=ignore)
    return on(device, scene._replace(boxes=near, targets=targets))


@over_rules
def test_equals_the_plain_form(rules: dict[str, Any], device: str) -> None:
    scene = crowded(1, device, images=2 if rules in (RULES["default"], RULES["everything"]) else 1)
    result = scene.assign(TaskAlignedAssigner(**rules))
    same(result, plain(scene, rules))
    assert (result.target_index >= 0).any()
    assert result.ignore.any()


@pytest.mark.parametrize("name", SCENES)
def test_equals_the_plain_form_in_hard_scenes(name: str, device: str) -> None:
    """One image of each, with another preset."""
    number = list(SCENES).index(name)
    image, rules = slice(number % 3, number % 3 + 1), RULES[PRESETS[number % 4]]
    scores, boxes, points, targets, strides = SCENES[name]
    rows = Targets(*(value[image, :3] for value in targets[:5]))
    scene = on(device, Scene(scores[image], boxes[image], points, rows, strides))
    same(scene.assign(TaskAlignedAssigner(**rules)), plain(scene, rules))


def test_broken_predictions_and_ties_in_conflicts(device: str) -> None:
    """Twins share all points; many predictions are broken, or so large that their sides are inf; many are repeated."""
    scene = crowded(2)
    boxes, scores = scene.boxes.clone(), scene.scores.clone()
    boxes[:, ::8, 1], boxes[:, 1::8, 3] = torch.nan, torch.inf
    scores[:, 2::8], scores[:, 3::8] = torch.nan, -0.0
    boxes[:, 5::8] = torch.tensor([-3e38, -3e38, 3e38, 3e38])
    boxes[:, 4::4], scores[:, 4::4] = boxes[:, 4:5], 0.5
    twice = scene.targets.boxes[:, :1].expand(-1, 5, -1)
    broken = on(device, scene._replace(boxes=boxes, scores=scores, targets=scene.targets._replace(boxes=twice)))
    for name in ("tood", "yolov8"):
        same(broken.assign(TaskAlignedAssigner(**RULES[name])), plain(broken, RULES[name]))


@pytest.mark.parametrize("name", ["tood", "ppyoloe", "default"])
def test_tiles_do_not_matter(name: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ties between tiles go to the lowest point and target too; the last tiles stick out."""
    scene = crowded(3, device)
    flat = scene._replace(scores=torch.full_like(scene.scores, 0.5), boxes=scene.boxes[:, :1].expand_as(scene.boxes))
    monkeypatch.setattr(kernels, "POINTS_A_TILE", 16)
    monkeypatch.setattr(kernels, "TARGETS_A_TILE", 2)
    for crowd in (scene, flat):
        same(crowd.assign(TaskAlignedAssigner(**RULES[name] | {"topk": 4})), plain(crowd, RULES[name] | {"topk": 4}))


@pytest.mark.parametrize("topk", [1, 20, 100])
def test_any_number_of_places(topk: int, device: str) -> None:
    """More than half a warp, and more than there are points."""
    scene = crowded(4, device)
    same(scene.assign(TaskAlignedAssigner(topk=topk)), plain(scene, {"topk": topk}))


def test_any_layout(device: str) -> None:
    """Scores class by class, as a convolution leaves them, and slices of wider tensors."""
    scene = crowded(5, device, images=2)
    wide = torch.cat([scene.boxes, scene.boxes], -1)[..., :4]
    by_class = scene.scores.transpose(1, 2).contiguous().transpose(1, 2)
    fields = [torch.stack([value, value], -1)[..., 0] for value in scene.targets[:5]]
    turned = scene._replace(scores=by_class, boxes=wide, targets=Targets(*fields))
    assert not any(value.is_contiguous() for value in (by_class, wide, fields[0]))
    same(turned.assign(TaskAlignedAssigner()), plain(scene, {}), scores=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_computes_in_single(dtype: torch.dtype, device: str) -> None:
    scene = crowded(6, device)
    half = scene._replace(scores=scene.scores.to(dtype), boxes=scene.boxes.to(dtype))
    result = half.assign(TaskAlignedAssigner())
    assert result.scores.dtype == torch.float32
    same(result, plain(half, {}))


def test_runs_alike_again_and_changes_no_input(device: str) -> None:
    scene = crowded(7, device)
    before = on(device, Scene(*(scene[:3]), scene.targets, scene.strides))
    copies = [value.clone() for value in (*scene[:3], *scene.targets[:5])]
    first, second = (scene.assign(TaskAlignedAssigner(conflict="all")) for _ in range(2))
    same(first, second, scores=0)
    assert all(torch.equal(a, b) for a, b in zip((*before[:3], *before.targets[:5]), copies, strict=True))


@pytest.mark.parametrize("what", ["images", "points", "targets"])
def test_nothing_there(what: str, device: str) -> None:
    scores, boxes, points, targets, strides = crowded(8, device)
    if what == "images":
        scene = Scene(scores[:0], boxes[:0], points, Targets(*(value[:0] for value in targets[:5])), strides)
    elif what == "points":
        scene = Scene(scores[:, :0], boxes[:, :0], points[:0], targets, strides[:0])
    else:
        scene = Scene(scores, boxes, points, Targets(*(value[:, :0] for value in targets[:5])), strides)
    same(scene.assign(TaskAlignedAssigner()), plain(scene, {}))


def test_traces_in_one_graph(device: str) -> None:
    torch._dynamo.reset()
    scene, assigner = crowded(9, device), TaskAlignedAssigner(reach=3.0)

    def step(scores: Tensor, boxes: Tensor) -> Assignment:
        return assigner(scores * 1, boxes * 1, scene.points, scene.targets, strides=scene.strides)

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    same(compiled(scene.scores, scene.boxes), plain(scene, {"reach": 3.0}))


def test_chosen_where_it_can_be(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken, claim = [], kernels.claim_points
    monkeypatch.setattr(kernels, "claim_points", lambda *given: taken.append(given) or claim(*given))
    scene = crowded(0, device)
    scene.assign(TaskAlignedAssigner())
    assert len(taken) == 1
    double = scene._replace(scores=scene.scores.double(), boxes=scene.boxes.double())
    double.assign(TaskAlignedAssigner())
    with matchloss.reference():
        scene.assign(TaskAlignedAssigner())
    assert len(taken) == 1
