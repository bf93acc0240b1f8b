"""TaskAlignedCriterion.yolov8 beside Ultralytics' own loss, which is called and not read; skipped without it."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from inputs import generator
from matchloss.criteria import TaskAlignedCriterion

pytestmark = pytest.mark.parity
their_loss = pytest.importorskip("ultralytics.utils.loss")

CLASSES, BINS, STRIDES, SIDE = 3, 16, (8, 16, 32), 128


class TheirModel(nn.Module):
    """As much of a model as their loss asks for."""

    def __init__(self) -> None:
        super().__init__()
        head = nn.Conv2d(1, 1, 1)
        head.stride = torch.tensor([float(stride) for stride in STRIDES])
        head.nc, head.reg_max, head.no = CLASSES, BINS, CLASSES + 4 * BINS
        self.model = nn.ModuleList([head])
        self.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)


def batch(seed: int, images: int = 3) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
    """Random targets in both forms; the last image has none."""
    rng = generator(seed)
    count = 9
    where = torch.randint(0, images - 1, (count,), generator=rng).sort().values  # they want whole images in a row
    labels = torch.randint(0, CLASSES, (count,), generator=rng)
    sides = torch.rand(count, 2, generator=rng) * 0.4 + 0.1
    centers = sides / 2 + torch.rand(count, 2, generator=rng) * (1 - sides)
    theirs = {"batch_idx": where.float(), "cls": labels[:, None].float(), "bboxes": torch.cat([centers, sides], 1)}
    corners = SIDE * torch.cat([centers - sides / 2, centers + sides / 2], 1)
    return theirs, [{"boxes": corners[where == n], "labels": labels[where == n]} for n in range(images)]


def outputs(seed: int, images: int = 3) -> list[Tensor]:
    """Maps of 4 * bins distances and the classes, sharp enough that boxes overlap their targets."""
    rng = generator(seed)
    maps = [torch.randn(images, CLASSES + 4 * BINS, SIDE // s, SIDE // s, generator=rng) for s in STRIDES]
    return [2 * level.requires_grad_() for level in maps]


def of_theirs(maps: list[Tensor], targets: dict[str, Tensor]) -> tuple[Tensor, Any]:
    flat = [level.flatten(2) for level in maps]
    boxes = torch.cat([level[:, : 4 * BINS] for level in flat], 2)
    scores = torch.cat([level[:, 4 * BINS :] for level in flat], 2)
    return their_loss.v8DetectionLoss(TheirModel())({"feats": maps, "boxes": boxes, "scores": scores}, targets)


@pytest.mark.parametrize("seed", range(6))
def test_terms_and_gradient_are_theirs_before_the_batch_size(seed: int) -> None:
    theirs, ours = batch(seed)
    maps = outputs(seed)
    total, terms = of_theirs(maps, theirs)
    levels = [{"logits": level[:, 4 * BINS :], "distances": level[:, : 4 * BINS]} for level in maps]
    loss = TaskAlignedCriterion.yolov8(CLASSES, STRIDES)(levels, ours)
    assert loss.stats["positives"] > 20
    assert_close(loss.terms["box"], terms["box_loss"], rtol=1e-4, atol=1e-5)
    assert_close(loss.terms["dfl"], terms["dfl_loss"], rtol=1e-4, atol=1e-5)
    assert_close(loss.terms["class_positive"] + loss.terms["class_negative"], terms["cls_loss"], rtol=1e-4, atol=1e-5)
    assert_close(3 * loss.total, total.sum(), rtol=1e-4, atol=1e-5)
    wanted = torch.autograd.grad(total.sum(), maps, retain_graph=True)
    for grad, other in zip(torch.autograd.grad(loss.total, maps), wanted, strict=True):
        assert_close(3 * grad, other, rtol=1e-3, atol=1e-4)


def test_without_objects_only_the_background_is_left() -> None:
    theirs, _ = batch(0)
    none = {name: values[:0] for name, values in theirs.items()}
    maps = outputs(0)
    total, terms = of_theirs(maps, none)
    levels = [{"logits": level[:, 4 * BINS :], "distances": level[:, : 4 * BINS]} for level in maps]
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    loss = TaskAlignedCriterion.yolov8(CLASSES, STRIDES)(levels, [nothing] * 3)
    assert_close(loss.terms["class_negative"], terms["cls_loss"])
    assert_close(3 * loss.total, total.sum())
