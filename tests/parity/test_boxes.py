"""Box losses beside other libraries' own numbers, on pairs where none of them has a defect."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from matchloss import losses
from matchloss.bench.peers import Peers

pytestmark = pytest.mark.parity


def pairs(count: int = 400) -> tuple[Tensor, Tensor]:
    """Boxes of 10 to 200 pixels, the predictions near and far from their targets."""
    rng = torch.Generator().manual_seed(0)
    low, size = 400 * torch.rand(count, 2, generator=rng), 10 + 190 * torch.rand(count, 2, generator=rng)
    moved = low + torch.linspace(0, 1.5, count)[:, None] * size * (torch.rand(count, 2, generator=rng) - 0.5)
    other = size * (0.5 + torch.rand(count, 2, generator=rng))
    targets, boxes = torch.cat([low, low + size], 1), torch.cat([moved, moved + other], 1)
    return boxes.double(), targets.double()


def same_gradient(ours: Callable[[Tensor], Tensor], theirs: Callable[[Tensor], Tensor], at: Tensor, **close) -> None:
    results = []
    for loss in (ours, theirs):
        leaf = at.clone().requires_grad_()
        value = loss(leaf)
        results.append((value.detach(), torch.autograd.grad(value.sum(), leaf)[0]))
    assert_close(*results, **{"rtol": 1e-6, "atol": 1e-7} | close)


def imported(module: str, name: str) -> Callable[..., Any]:
    """A peer's function, or a skip: most of them do not install beside every build of torch."""
    found = Peers(wanted=True).find(module, name)
    return found if found is not None else pytest.skip(f"{module}.{name} is not there")


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_giou_of_fvcore(reduction: str) -> None:
    theirs = imported("fvcore.nn", "giou_loss")
    boxes, targets = pairs()
    same_gradient(
        lambda b: losses.giou_loss(b, targets, reduction=reduction), lambda b: theirs(b, targets, reduction), boxes
    )


@pytest.mark.parametrize("kind", ["giou", "diou", "ciou"])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_torchvision(kind: str, reduction: str) -> None:
    theirs = imported(
        {"giou": "torchvision.ops.giou_loss", "diou": "torchvision.ops.diou_loss", "ciou": "torchvision.ops.ciou_loss"}[
            kind
        ],
        {"giou": "generalized_box_iou_loss", "diou": "distance_box_iou_loss", "ciou": "complete_box_iou_loss"}[kind],
    )
    ours = getattr(losses, f"{kind}_loss")
    boxes, targets = pairs()
    same_gradient(
        lambda b: ours(b, targets, reduction=reduction), lambda b: theirs(b, targets, reduction=reduction), boxes
    )


@pytest.mark.parametrize(("kind", "option"), [("iou", {}), ("giou", {"GIoU": True}), ("diou", {"DIoU": True}),
                                              ("ciou", {"CIoU": True})])  # fmt: skip
def test_ultralytics(kind: str, option: dict[str, bool]) -> None:
    """Their similarity, 1 minus the loss; their 1e-7 in the aspect ratio shows in the eighth digit."""
    theirs = imported("ultralytics.utils.metrics", "bbox_iou")
    ours = getattr(losses, f"{kind}_loss")
    boxes, targets = pairs()
    same_gradient(
        lambda b: ours(b, targets, reduction="none"),
        lambda b: 1 - theirs(b, targets, xywh=False, **option).squeeze(-1),
        boxes,
    )


def test_mmdetection_s_siou_in_its_paper_form() -> None:
    """The published formula with `neg_gamma=True`, written out; the package does not install here."""
    boxes, targets = pairs()

    def theirs(b: Tensor) -> Tensor:
        (x1, y1, x2, y2), (s1, t1, s2, t2) = b.unbind(-1), targets.unbind(-1)
        across = (torch.minimum(x2, s2) - torch.maximum(x1, s1)).clamp(min=0)
        down = (torch.minimum(y2, t2) - torch.maximum(y1, t1)).clamp(min=0)
        union = (x2 - x1) * (y2 - y1) + (s2 - s1) * (t2 - t1) - across * down
        dx, dy = (s1 + s2 - x1 - x2) / 2, (t1 + t2 - y1 - y2) / 2
        sigma = (dx**2 + dy**2).sqrt()
        sine = torch.minimum(dx.abs(), dy.abs()) / sigma  # the smaller angle to an axis
        angle = torch.sin(2 * torch.arcsin(sine))
        width, height = torch.maximum(x2, s2) - torch.minimum(x1, s1), torch.maximum(y2, t2) - torch.minimum(y1, t1)
        gamma = 2 - angle
        distance = 2 - torch.exp(-gamma * (dx / width) ** 2) - torch.exp(-gamma * (dy / height) ** 2)
        wider = (x2 - x1 - s2 + s1).abs() / torch.maximum(x2 - x1, s2 - s1)
        higher = (y2 - y1 - t2 + t1).abs() / torch.maximum(y2 - y1, t2 - t1)
        shape = (1 - torch.exp(-wider)) ** 4 + (1 - torch.exp(-higher)) ** 4
        return 1 - across * down / union + (distance + shape) / 2

    same_gradient(lambda b: losses.siou_loss(b, targets, reduction="none"), theirs, boxes)
