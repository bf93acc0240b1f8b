"""What people write by hand, and copy from each other: the formulas that ours are held against."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def one_hot_focal(logits: Tensor, labels: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Sigmoid focal of labels, by a dense target that is made for it."""
    target = (labels.unsqueeze(-1) == torch.arange(logits.shape[-1], device=logits.device)).to(logits.dtype)
    p = logits.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    p_true = p * target + (1 - p) * (1 - target)
    weight = alpha * target + (1 - alpha) * (1 - target)
    return (weight * (1 - p_true) ** gamma * cross_entropy).mean()


def one_hot_dice(logits: Tensor, labels: Tensor) -> Tensor:
    """Softmax Dice by an image and class, over the classes that are there."""
    probs = logits.softmax(1)
    target = F.one_hot(labels, logits.shape[1]).movedim(-1, 1).to(probs.dtype)
    both, total = (probs * target).sum((2, 3)), (probs + target).sum((2, 3))
    present = target.sum((2, 3)) > 0
    return torch.where(present, 1 - 2 * both / total, 0.0).sum() / present.sum()


def one_hot_cross_entropy_and_dice(logits: Tensor, labels: Tensor) -> Tensor:
    """Two passes over the logits."""
    return F.cross_entropy(logits, labels) + one_hot_dice(logits, labels)


def written_out_giou(boxes: Tensor, targets: Tensor, eps: float = 1e-7) -> Tensor:
    """As torchvision has it."""
    shared, union, hull = _areas(boxes, targets)
    area = hull.prod(1)
    return (1 - shared / (union + eps) + (area - union) / (area + eps)).mean()


def written_out_ciou(boxes: Tensor, targets: Tensor, eps: float = 1e-7) -> Tensor:
    """As torchvision has it."""
    shared, union, hull = _areas(boxes, targets)
    iou = shared / (union + eps)
    offset = (boxes[:, :2] + boxes[:, 2:] - targets[:, :2] - targets[:, 2:]) / 2
    distance = offset.square().sum(1) / (hull.square().sum(1) + eps)
    angle, target_angle = (torch.atan((one[:, 2] - one[:, 0]) / (one[:, 3] - one[:, 1])) for one in (boxes, targets))
    aspect = 4 / math.pi**2 * (target_angle - angle).square()
    with torch.no_grad():
        trade_off = aspect / (1 - iou + aspect + eps)
    return (1 - iou + distance + trade_off * aspect).mean()


def _areas(boxes: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Area of the intersection and of the union, and sides ``(N, 2)`` of the box around both."""
    low, high = torch.maximum(boxes[:, :2], targets[:, :2]), torch.minimum(boxes[:, 2:], targets[:, 2:])
    around_low, around_high = torch.minimum(boxes[:, :2], targets[:, :2]), torch.maximum(boxes[:, 2:], targets[:, 2:])
    shared = (high - low).clamp(min=0).prod(1)
    areas = [(one[:, 2:] - one[:, :2]).prod(1) for one in (boxes, targets)]
    return shared, areas[0] + areas[1] - shared, around_high - around_low


def sorted_lovasz(logits: Tensor, labels: Tensor) -> Tensor:
    """Lovász-softmax as published: a sort a class, over all pixels of the batch, classes that are there alone."""
    classes = logits.shape[1]
    probs, flat = logits.softmax(1).movedim(1, -1).reshape(-1, classes), labels.flatten()
    losses = []
    for one in range(classes):
        foreground = (flat == one).to(probs.dtype)
        errors, order = (foreground - probs[:, one]).abs().sort(descending=True)
        sorted_foreground = foreground[order]
        total = sorted_foreground.sum()
        remaining = total - sorted_foreground.cumsum(0)
        union = total + (1 - sorted_foreground).cumsum(0)
        jaccard = 1 - remaining / union
        steps = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
        losses.append(errors @ steps)
    return torch.stack(losses).mean()
