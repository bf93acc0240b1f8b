"""Rows of the other criteria: assignment, all terms and backward to the outputs of a model."""

from types import SimpleNamespace

import torch
from torch import Tensor, nn

from ..criteria import DBCriterion, EASTCriterion, RetinaNetCriterion, TaskAlignedCriterion
from ..encoders import DBTargetEncoder, EASTTargetEncoder
from ..types import Targets
from .detection_scenes import CLASSES, STRIDES, square_targets, targets_to
from .rows import Row, Variant, peer
from .setting import Setting
from .words import words

BINS = 16


def yolov8_criterion(setting: Setting, images: int, count: int) -> Row:
    """Our preset beside Ultralytics' loss, before they multiply by the batch size."""
    images, count, side = (2, 4, 64) if setting.quick else (images, count, 640)
    targets = square_targets(setting, images, count, side)
    # Annotations end where the image does.
    inside = targets_to(targets._replace(boxes=targets.boxes.clamp(0, side)), setting.device)
    channels, cells = CLASSES + 4 * BINS, [side // stride for stride in STRIDES]
    leaf = setting.leaf(setting.randn(images, channels, sum(cell**2 for cell in cells)))
    criterion = TaskAlignedCriterion.yolov8(CLASSES, STRIDES).to(setting.device)

    def maps() -> list[Tensor]:
        parts = leaf.split([cell**2 for cell in cells], 2)  # type: ignore[no-untyped-call]
        return [part.unflatten(2, (cell, cell)) for part, cell in zip(parts, cells, strict=True)]

    def ours() -> Tensor:
        levels = [{"distances": level[:, : 4 * BINS], "logits": level[:, 4 * BINS :]} for level in maps()]
        total: Tensor = criterion(levels, inside).total
        return total

    others: dict[str, Variant] = {}
    if kind := setting.peers.find("ultralytics.utils.loss", "v8DetectionLoss"):
        loss, described = kind(_model_of(setting)), _described(inside, side)

        def theirs() -> Tensor:
            flat = leaf[:, : 4 * BINS], leaf[:, 4 * BINS :]
            outputs = {"feats": maps(), "boxes": flat[0], "scores": flat[1]}
            total: Tensor = loss(outputs, described)[0]
            return total.sum() / images

        others["Ultralytics"] = peer(theirs)
    size = f"{images} images of {side} x {side}, {CLASSES} classes, {count} targets"
    return Row(size, ours, leaf, others=others)


def _model_of(setting: Setting) -> nn.Module:
    """Stands for a model of theirs: their loss reads these numbers of its head."""
    head = nn.Conv2d(1, 1, 1)
    head.stride = torch.tensor([float(stride) for stride in STRIDES])  # type: ignore[assignment]
    head.nc, head.reg_max, head.no = CLASSES, BINS, CLASSES + 4 * BINS  # type: ignore[assignment]
    model = nn.Sequential(head).to(setting.device)
    model.model, model.args = [head], SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)  # type: ignore[assignment]
    return model


def _described(targets: Targets, side: int) -> dict[str, Tensor]:
    """One row an object, as they read them."""
    x1, y1, x2, y2 = (targets.boxes.flatten(0, 1) / side).unbind(-1)
    boxes = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], -1)
    image = torch.arange(len(targets.labels), device=boxes.device).repeat_interleave(targets.labels.shape[1])
    return {"batch_idx": image.float(), "cls": targets.labels.float().flatten()[:, None], "bboxes": boxes}


def retinanet_criterion(setting: Setting, images: int, count: int) -> Row:
    """Nine anchors a cell, focal and L1."""
    images, count, side = (2, 4, 64) if setting.quick else (images, count, 640)
    targets = targets_to(square_targets(setting, images, count, side), setting.device)
    anchors = 9 * sum((side // stride) ** 2 for stride in STRIDES)
    leaf = setting.leaf(setting.randn(images, anchors, CLASSES + 4))
    criterion = RetinaNetCriterion(CLASSES, STRIDES).to(setting.device)

    def ours() -> Tensor:
        total: Tensor = criterion({"logits": leaf[..., :CLASSES], "deltas": leaf[..., CLASSES:]}, targets).total
        return total

    return Row(f"{images} x {anchors} anchors, {CLASSES} classes, {count} targets", ours, leaf)


def east_criterion(setting: Setting, images: int, count: int) -> Row:
    """The paper's terms on maps of 512 x 512 pixels."""
    images, size = (2, (64, 96)) if setting.quick else (images, (512, 512))
    quads = [words(setting, count, (25, 50), size) for _ in range(images)]
    ignore = [torch.zeros(count, dtype=torch.bool)] * images
    maps = EASTTargetEncoder()(quads, ignore, size)
    maps = type(maps)(*(setting.to_device(one) for one in maps))
    leaf = setting.leaf(setting.randn(images, 6, *maps.score.shape[2:]))
    criterion = EASTCriterion().to(setting.device)

    def ours() -> Tensor:
        geometry = torch.cat([100 * leaf[:, 1:5].sigmoid(), leaf[:, 5:]], 1)
        total: Tensor = criterion(leaf[:, :1], geometry, maps).total
        return total

    return Row(f"{images} maps of 128 x 128, {count} words", ours, leaf)


def db_criterion(setting: Setting, images: int, count: int) -> Row:
    """Hard negatives, thresholds and the approximate binary map."""
    images, size = (2, (64, 96)) if setting.quick else (images, (512, 512))
    quads = [words(setting, count, (25, 50), size) for _ in range(images)]
    ignore = [torch.zeros(count, dtype=torch.bool)] * images
    maps = DBTargetEncoder()(quads, ignore, size)
    maps = type(maps)(*(setting.to_device(one) for one in maps))
    leaf = setting.leaf(setting.randn(images, 2, *maps.score.shape[2:]))
    criterion = DBCriterion().to(setting.device)

    def ours() -> Tensor:
        total: Tensor = criterion({"score": leaf[:, :1], "threshold": leaf[:, 1:]}, maps).total
        return total

    return Row(f"{images} maps of {size[0]} x {size[1]}, {count} words", ours, leaf)
