"""The scene in which task-aligned assignment is timed, beside Ultralytics' assigner where it is installed."""

import torch
from torch import Tensor

import matchloss
from bench_measure import Loss
from bench_peers import peer
from matchloss import Targets
from matchloss.assigners import TaskAlignedAssigner
from matchloss.geometry import grid_points


def task_aligned_variants(
    count: int, side: int, images: int, device: str, generator: torch.Generator
) -> tuple[str, Tensor, dict[str, Loss]]:
    """Title, a leaf for the backward that assignment does not have, and who is timed: each gives the sum of scores."""
    points, _, _ = grid_points([(side // stride,) * 2 for stride in (8, 16, 32)], (8, 16, 32), device=device)
    scores, boxes, targets = _scene(points.cpu(), count, side, images, generator)
    scores, boxes = scores.to(device), boxes.to(device)
    targets = targets._replace(
        **{name: getattr(targets, name).to(device) for name in ("labels", "boxes", "valid", "ignore", "weights")}
    )
    leaf = torch.zeros(1, device=device, requires_grad=True)
    assigner = TaskAlignedAssigner.yolov8()

    def plain() -> Tensor:
        with matchloss.reference():
            return assigner(scores, boxes, points, targets).scores.sum() + leaf.sum()

    variants: dict[str, Loss] = {
        "matchloss": lambda: assigner(scores, boxes, points, targets).scores.sum() + leaf.sum(),
        "matchloss, plain torch": plain,
    }
    if kind := peer("ultralytics.utils.tal", "TaskAlignedAssigner"):
        other = kind(topk=10, num_classes=scores.shape[-1], alpha=0.5, beta=6.0, stride=[8, 16, 32])
        described = targets.labels.unsqueeze(-1), targets.boxes, targets.valid.unsqueeze(-1).float()
        variants["Ultralytics"] = lambda: other(scores, boxes, points, *described)[2].sum() + leaf.sum()
    return f"task-aligned assignment {[images, len(points), scores.shape[-1]]}, {count} targets", leaf, variants


def _scene(
    points: Tensor, count: int, side: int, images: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Targets]:
    """Targets of 10 to 245 pixels, half of the predictions like one of those around their point."""

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    centers, sides = rand(images, count, 2) * side, 10 * 24.5 ** rand(images, count, 2)
    boxes = torch.cat([centers - sides / 2, centers + sides / 2], -1)
    distance = torch.stack([torch.cdist(points, center) for center in centers])
    near = boxes.gather(1, distance.argmin(2, keepdim=True).expand(-1, -1, 4))
    half = 8 + 100 * rand(images, len(points), 4)
    around = torch.cat([points - half[..., :2], points + half[..., 2:]], -1)
    mixed = torch.where(rand(images, len(points), 1) < 0.5, near + 20 * (rand(images, len(points), 4) - 0.5), around)
    everything = torch.ones(images, count, dtype=torch.bool)
    labels = torch.randint(0, 80, (images, count), generator=generator)
    targets = Targets(labels, boxes, everything, ~everything, torch.ones(images, count))
    return rand(images, len(points), 80), mixed, targets
