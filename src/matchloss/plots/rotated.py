"""Slices of the losses of rotated boxes, edge distances and angles."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from .. import losses
from .panels import Curves, Line, Loss, Panel

WIDTH, HEIGHT = 50.0, 10.0
"""Of the target, in pixels: the lengths of a word, five times as wide as high."""
POINTS = 300


def over_turns(curves: Curves, baseline: tuple[str, Loss] = ("rotated IoU", losses.rotated_iou_loss)) -> list[Panel]:
    """Loss over the angle, over the place, and over the width of a long box that is right in all else."""
    # Middles of steps: none lies on a kink, where sides are in line.
    steps = (torch.arange(POINTS, dtype=torch.float64) + 0.5) / POINTS
    width = torch.logspace(-1, 1, POINTS, dtype=torch.float64)
    turned, moved, sized = list[Line](), list[Line](), list[Line]()
    for label, loss in {**curves, baseline[0]: baseline[1]}.items():
        dashed = label == baseline[0]
        turned.append(Line(label, 180 * steps, _of_boxes(loss, angle=torch.pi * steps), dashed))
        moved.append(Line(label, 1.5 * steps, _of_boxes(loss, x=1.5 * steps * WIDTH), dashed))
        sized.append(Line(label, width, _of_boxes(loss, width=width * WIDTH), dashed))
    return [
        Panel("loss of a turned box", "degrees", turned),
        Panel("loss of a box moved along", "distance / width of the target", moved),
        Panel("loss of a wrong width", "width / width of the target", sized, xscale="log"),
    ]


def _of_boxes(
    loss: Loss, *, x: Tensor | None = None, width: Tensor | None = None, angle: Tensor | None = None
) -> Tensor:
    target = torch.tensor([0.0, 0.0, WIDTH, HEIGHT, 0.0], dtype=torch.float64).expand(POINTS, 5)
    columns = [
        column if given is None else given
        for column, given in zip(target.unbind(1), (x, None, width, None, angle), strict=True)
    ]
    return loss(torch.stack(columns, dim=1), target, reduction="none")


def over_angles() -> list[Panel]:
    """The loss of an angle over its error, with one top, two and four."""
    curves: Curves = {f"symmetry {symmetry}": partial(losses.angle_loss, symmetry=symmetry) for symmetry in (1, 2, 4)}
    degrees = torch.linspace(-180, 180, POINTS, dtype=torch.float64)
    return _with_gradient(curves, degrees, "degrees off", lambda x: (torch.deg2rad(x), torch.zeros_like(x)))


def over_distances() -> list[Panel]:
    """The loss of a box around the right point, of the right shape and the wrong size."""
    curves: Curves = {
        "-log IoU": losses.edge_iou_loss,
        "-log IoU, smooth 1": partial(losses.edge_iou_loss, smooth=1.0),
        "1 - IoU": partial(losses.edge_iou_loss, mode="linear"),
    }
    target = torch.tensor([2.0, 8.0, 2.0, 8.0], dtype=torch.float64).expand(POINTS, 4)
    scale = torch.linspace(0.1, 3, POINTS, dtype=torch.float64)
    return _with_gradient(curves, scale, "distances / those of the target", lambda x: (target * x[:, None], target))


def _with_gradient(
    curves: Curves, x: Tensor, xlabel: str, made: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> list[Panel]:
    values, sizes = list[Line](), list[Line]()
    for label, loss in curves.items():
        at = x.detach().requires_grad_()
        value = loss(*made(at), reduction="none")
        (grad,) = torch.autograd.grad(value.sum(), at)
        values.append(Line(label, x, value.detach()))
        sizes.append(Line(label, x, grad.abs()))
    return [Panel("loss", xlabel, values), Panel("size of the gradient", xlabel, sizes)]


def _rotated_curves() -> dict[str, Curves]:
    """Each loss of rotated boxes with its options, or beside its kin."""
    gwd, kfiou = losses.gwd_loss, losses.kfiou_loss
    return {
        "rotated_iou_loss": {"-log IoU": partial(losses.rotated_iou_loss, mode="log")},
        "rotated_giou_loss": {"rotated GIoU": losses.rotated_giou_loss},
        "rotated_diou_loss": {"rotated DIoU": losses.rotated_diou_loss, "rotated GIoU": losses.rotated_giou_loss},
        "gwd_loss": {
            "GWD": gwd,
            "GWD, normalised": partial(gwd, normalize=True),
            "GWD, normalised, √": partial(gwd, normalize=True, transform="sqrt"),
        },
        "kld_loss": {"KLD": losses.kld_loss, "KLD, √": partial(losses.kld_loss, transform="sqrt")},
        "kfiou_loss": {f"KFIoU, {mode}": partial(kfiou, mode=mode) for mode in ("linear", "log", "exp")},
        "probiou_loss": {mode.upper(): partial(losses.probiou_loss, mode=mode) for mode in ("l1", "l2")},
    }


ROTATED_SLICES: dict[str, Callable[[], list[Panel]]] = {
    "edge_iou_loss": over_distances,
    "angle_loss": over_angles,
    **{name: partial(over_turns, curves) for name, curves in _rotated_curves().items()},
}
