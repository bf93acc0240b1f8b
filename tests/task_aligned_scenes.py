"""Rules and scenes for the tests of task-aligned assignment, random ones and hard ones, and what they compare with."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import matchloss
import reference.task_aligned as ref
from matchloss.assigners import TaskAlignedAssigner
from matchloss.geometry import grid_points
from matchloss.types import Assignment, Targets

RULES: dict[str, dict[str, Any]] = {
    "default": {},
    **ref.VARIANTS,
    "second top-k": {"second_topk": 2},
    "least points": {"min_points": 3},
    "least points of all": {"min_points": 3, "conflict": "all", "topk": 30},
    "reach": {"reach": 2.0},
    "floor": {"min_overlap": 0.3, "topk": 1},
    "other powers": {"alpha": 0.7, "beta": 2.5},
    "top-k of all": {"topk_among": "all"},
    "some overlap": {"zero_metric": False},
    "wide": {"min_side": 24.0, "margin": 1.0, "conflict": "selected"},
    "everything": {
        "topk_among": "all",
        "conflict": "all",
        "topk": 5,
        "min_points": 2,
        "second_topk": 3,
        "reach": 3.0,
    },
}


class Scene(NamedTuple):
    scores: Tensor
    boxes: Tensor
    points: Tensor
    targets: Targets
    strides: Tensor

    def assign(self, assigner: Any) -> Assignment:
        return assigner(self.scores, self.boxes, self.points, self.targets, strides=self.strides)


def random_scene(
    seed: int,
    *,
    images: int = 3,
    targets: int = 7,
    classes: int = 4,
    side: int = 64,
    levels: tuple[int, ...] = (8, 16, 32),
    dtype: torch.dtype = torch.float32,
    noise: float = 0.35,
) -> Scene:
    """Half of the predictions near a target, half anywhere; targets of 3 to 60 pixels, some padded, some ignored."""
    rng = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=rng, dtype=torch.float64)

    points, strides, _ = grid_points([(side // s, side // s) for s in levels], levels, dtype=torch.float64)
    centers = rand(images, targets, 2) * side
    sides = 3 * (60 / 3) ** rand(images, targets, 2)
    boxes = torch.cat([centers - sides / 2, centers + sides / 2], -1)
    near = torch.randint(0, targets, (images, len(points)), generator=rng)
    like = boxes.gather(1, near.unsqueeze(-1).expand(-1, -1, 4))
    jitter = (rand(images, len(points), 4) - 0.5) * noise * 60
    reach = 2 * strides.unsqueeze(-1) * rand(images, len(points), 4)
    around = torch.cat([points - reach[..., :2], points + reach[..., 2:]], -1)
    predictions = torch.where(rand(images, len(points), 1) < 0.5, like + jitter, around)
    valid = torch.arange(targets) < torch.randint(1, targets + 1, (images, 1), generator=rng)
    return Scene(
        rand(images, len(points), classes).to(dtype),
        predictions.to(dtype),
        points.to(dtype),
        Targets(
            labels=torch.randint(0, classes, (images, targets), generator=rng) * valid,
            boxes=(boxes * valid.unsqueeze(-1)).to(dtype),
            valid=valid,
            ignore=(rand(images, targets) < 0.15) & valid,
            weights=valid.float(),
        ),
        strides.to(dtype),
    )


def hard_scenes(dtype: torch.dtype = torch.float32) -> dict[str, Scene]:
    """Ties, broken numbers, degenerate targets."""
    base = random_scene(5, dtype=dtype)
    scenes = {"flat scores": base._replace(scores=torch.full_like(base.scores, 0.5))}
    scenes["no overlap anywhere"] = base._replace(boxes=base.boxes + 1000)
    scenes["zero scores"] = base._replace(scores=torch.zeros_like(base.scores))
    scenes["one prediction repeated"] = base._replace(
        boxes=base.boxes[:, :1].expand_as(base.boxes).contiguous(), scores=torch.full_like(base.scores, 0.5)
    )
    broken, scores = base.boxes.clone(), base.scores.clone()
    broken[0, ::3, 1], broken[1, ::5, 2], broken[2, ::4] = torch.nan, torch.inf, -torch.inf
    scores[0, 1::4], scores[1, ::2, 0], scores[2, 1::3] = torch.nan, torch.inf, -torch.inf
    scenes["broken predictions"] = base._replace(boxes=broken, scores=scores)
    scenes["all broken"] = base._replace(boxes=torch.full_like(broken, torch.nan))
    scenes["inverted predictions"] = base._replace(boxes=base.boxes.flip(-1))
    targets = base.targets
    ends = targets.boxes.clone()
    ends[0, 0, 2:] = ends[0, 0, :2]  # a point
    ends[1, 0] = ends[1, 0].flip(0)  # inverted
    ends[2, 0, 2] = ends[2, 0, 0]  # a line
    ends[0, 1:2] = torch.tensor([-60.0, -60.0, -20.0, -20.0])  # outside of the image
    scenes["degenerate targets"] = base._replace(targets=targets._replace(boxes=ends))
    ends = targets.boxes.clone()
    ends[0, 0, 0], ends[1, 0, 3], ends[2, 0] = torch.nan, torch.inf, torch.nan
    scenes["broken targets"] = base._replace(targets=targets._replace(boxes=ends))
    twice = targets.boxes[:, :1].expand_as(targets.boxes).contiguous()
    scenes["one target repeated"] = base._replace(targets=targets._replace(boxes=twice))
    scenes["all ignored"] = base._replace(targets=targets._replace(ignore=targets.valid))
    nothing = torch.zeros_like(targets.valid)
    scenes["all padded"] = base._replace(targets=targets._replace(valid=nothing, ignore=nothing))
    holes = torch.rand(targets.valid.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    scenes["padding between"] = base._replace(targets=targets._replace(valid=holes, ignore=targets.ignore & holes))
    order = torch.randperm(len(base.points), generator=torch.Generator().manual_seed(0))
    scenes["points in any order"] = base._replace(
        points=base.points[order],
        strides=base.strides[order],
        boxes=base.boxes[:, order].contiguous(),
        scores=base.scores[:, order].contiguous(),
    )
    scenes["one class"] = base._replace(
        scores=base.scores[..., :1].contiguous(), targets=targets._replace(labels=torch.zeros_like(targets.labels))
    )
    return scenes


def by_reference(scene: Scene, options: dict[str, Any]) -> Assignment:
    """The slow form, image by image."""
    rules = ref.TaskAligned(**options)
    images = []
    for b in range(len(scene.scores)):
        arrays = [scene.scores[b], scene.boxes[b], scene.points, scene.targets.boxes[b]]
        rest = [scene.targets.labels[b], scene.targets.valid[b], scene.targets.ignore[b]]
        image = ref.Image(
            *(x.double().numpy() for x in arrays), *(x.numpy() for x in rest), scene.strides.double().numpy()
        )
        with np.errstate(invalid="ignore"):  # broken predictions are NaN, and stay out of all comparisons
            images.append(rules.assign(image))
    owner = torch.tensor([image[0] for image in images])
    labels = torch.where(owner >= 0, scene.targets.labels.gather(1, owner.clamp(min=0)), -1)
    scores = torch.tensor([image[1] for image in images], dtype=torch.float64)
    ignore = torch.tensor([image[2] for image in images])
    return Assignment(owner, labels, scores, ignore)


def plain(scene: Scene, rules: dict[str, Any]) -> Assignment:
    with matchloss.reference():
        return scene.assign(TaskAlignedAssigner(**rules))


def same(first: Assignment, second: Assignment, *, scores: float = 1e-6) -> None:
    for name in ("target_index", "labels", "ignore"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    torch.testing.assert_close(first.scores.double(), second.scores.double(), rtol=scores, atol=scores)
