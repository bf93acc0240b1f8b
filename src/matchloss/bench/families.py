"""A row for any loss of the catalogue: its scene follows from its arguments, so that a new loss needs no edit."""

import inspect
from collections.abc import Callable

import torch
from torch import Tensor

from . import scenes
from .loss_peers import peers_of
from .rows import Row, dims, least_traffic
from .setting import Setting

Function = Callable[..., Tensor]


def loss_row(loss: Function, setting: Setting) -> Row:
    """A loss at a size at which it takes some milliseconds."""
    first, second, scores = inputs_of(loss, setting)

    def ours() -> Tensor:
        return loss(first, second) if scores is None else loss(first, second, scores=scores)

    others = peers_of(loss.__name__, setting.peers, first, second, scores)
    traffic = least_traffic(first, second)
    return Row(f"{dims(*first.shape)} {next(iter(_names(loss)))}", ours, first, others=others, least_bytes=traffic)


def inputs_of(loss: Function, setting: Setting) -> tuple[Tensor, Tensor, Tensor | None]:
    """Predictions, targets, and scores where it takes them beside labels."""
    names, quick = _names(loss), setting.quick
    match next(iter(names)):
        case "logits":
            return _of_logits(loss, setting)
        case "predictions":
            return *scenes.value_pairs(setting, 100 if quick else 200_000, 4), None
        case "boxes" if takes(loss, 4):
            return *scenes.box_pairs(setting, 100 if quick else 100_000), None
        case "boxes" if takes(loss, 5):
            return *scenes.rotated_pairs(setting, 20 if quick else 20_000), None
        case "edges":
            return *scenes.positive_pairs(setting, 100 if quick else 65_536, 4), None
        case "angles":
            return *scenes.value_pairs(setting, 100 if quick else 65_536), None
        case "quads":
            return *scenes.quad_pairs(setting, 20 if quick else 20_000), None
    raise ValueError(f"bench: expected a loss whose arguments fit a scene, got {loss.__name__}({', '.join(names)})")


def _of_logits(loss: Function, setting: Setting) -> tuple[Tensor, Tensor, Tensor | None]:
    names, quick = _names(loss), setting.quick
    side = 16 if quick else 256
    if "scores" in names:  # of labels, among many anchors
        return scenes.anchor_scores(setting, (2, 84, 8) if quick else (4, 8400, 80))
    if "class_dim" in names and names["class_dim"].annotation is int:  # exclusive classes
        return *scenes.class_maps(setting, (2, 19, side, side)), None
    if "class_dim" in names:
        return *scenes.binary_maps(setting, (2, 4, side, side)), None
    if "ignore_index" not in names:  # its targets are no labels, but places between the bins
        return *scenes.bin_logits(setting, 100 if quick else 80_000, 16), None
    logits, maps = scenes.binary_maps(setting, (4, 1, 2 * side, 2 * side))
    return logits.detach()[:, 0].requires_grad_(), maps[:, 0], None


def takes(loss: Function, numbers: int) -> bool:
    """Whether boxes of so many numbers are what a loss wants: upright ones have 4, rotated ones 5."""
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0, 0.0]])[:, :numbers]
    try:
        loss(boxes, boxes)
    except ValueError:
        return False
    return True


def _names(loss: Function) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(loss).parameters)
