"""Slices of losses that look at a region as a whole: over imbalance, over what is found, over displacement and gaps."""

from typing import NamedTuple

import torch
from torch import Tensor

from .panels import Curves, Line, Loss, Panel

PIXELS = 10_000
SURE = 0.99
"""Probability of what is predicted; 1 - SURE of what is not."""
SIDE, RADIUS, MOVED = 48, 9, 8
LENGTH, WIDTH, GAP = 40, 3, 10


class Measured(NamedTuple):
    """The mean loss of one image, and the gradient of its foreground logits."""

    value: Tensor
    grad: Tensor


def measure(loss: Loss, probs: Tensor, truth: Tensor, *, softmax: bool) -> Measured:
    """Apply a loss to one image (H, W) of foreground probabilities; a softmax gets the background's logit, 0, too."""
    logit = probs.logit().requires_grad_()
    if softmax:
        value = loss(torch.stack([torch.zeros_like(logit), logit])[None], truth[None].long())
    else:
        value = loss(logit[None, None], truth[None, None].to(logit.dtype))
    (grad,) = torch.autograd.grad(value, logit)
    return Measured(value.detach(), grad)


def over_regions(curves: Curves, baseline: tuple[str, Loss], *, softmax: bool) -> list[Panel]:
    """Loss over the share found, then loss and gradient of finding nothing over the size of the foreground."""
    lines: dict[str, list[Line]] = {"found": [], "missed": [], "gradient": []}
    found = torch.linspace(0, 1, 21, dtype=torch.float64)
    shares = torch.logspace(-3, torch.tensor(0.5).log10().item(), 19, dtype=torch.float64)
    for label, loss in (curves | {baseline[0]: baseline[1]}).items():
        dashed = label == baseline[0]
        values = [measure(loss, *_partly_found(share.item()), softmax=softmax).value for share in found]
        lines["found"].append(Line(label, found, torch.stack(values), dashed))
        missed = [(truth, measure(loss, probs, truth, softmax=softmax)) for probs, truth in map(_all_missed, shares)]
        sizes = torch.stack([truth.double().mean() for truth, _ in missed])
        lines["missed"].append(Line(label, sizes, torch.stack([one.value for _, one in missed]), dashed))
        norms = torch.stack([one.grad[truth].norm() for truth, one in missed])
        lines["gradient"].append(Line(label, sizes, norms, dashed))
    share = "share of foreground"
    return [
        Panel("loss, foreground 10 %", "share of it that is found", lines["found"]),
        Panel("loss of finding nothing", share, lines["missed"], xscale="log", yscale="log"),
        Panel("its gradient on the foreground", share, lines["gradient"], xscale="log", yscale="log"),
    ]


def over_displacement(curves: Curves, *, softmax: bool) -> list[Panel]:
    """A disc predicted beside the true one."""
    moves = torch.arange(SIDE - 2 * RADIUS - 3)
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")

    def disc(centre: int) -> Tensor:
        return (x - centre) ** 2 + (y - SIDE // 2) ** 2 <= RADIUS**2

    start = RADIUS + 1
    images = [(_sure(disc(start + int(move))), disc(start)) for move in moves]
    where = [
        (name, centre - RADIUS - 0.5, centre + RADIUS + 0.5)
        for name, centre in (("true", start), ("predicted", start + MOVED))
    ]
    return _over_images(
        curves,
        images,
        moves,
        MOVED,
        SIDE // 2,
        where,
        "pixels a disc is moved",
        f"row of pixels, moved by {MOVED}",
        softmax,
    )


def over_gaps(curves: Curves, *, softmax: bool) -> list[Panel]:
    """A line with a stretch that is not found."""
    gaps = torch.arange(0, LENGTH // 2 + 1)
    y, x = torch.meshgrid(torch.arange(2 * WIDTH + 5), torch.arange(LENGTH + 8), indexing="ij")
    middle = WIDTH + 2
    truth = ((y - middle).abs() <= WIDTH // 2) & (x >= 4) & (x < LENGTH + 4)

    def broken(gap: int) -> Tensor:
        start = (LENGTH + 8 - gap) // 2
        return truth & ~((x >= start) & (x < start + gap))

    images = [(_sure(broken(int(gap))), truth) for gap in gaps]
    start = (LENGTH + 8 - GAP) // 2 - 0.5
    where = [("gap", start, start + GAP)]
    return _over_images(
        curves,
        images,
        gaps,
        GAP,
        middle,
        where,
        "pixels missing in a line",
        f"pixels of the line, {GAP} missing",
        softmax,
    )


def along_row(maps: Tensor, spans: list[tuple[str, float, float]]) -> list[Panel]:
    """A map's values along a row of pixels."""
    x = torch.arange(len(maps))
    return [Panel("signed distance", "pixels through a disc", [Line("distance", x, maps)], spans=spans)]


def _over_images(
    curves: Curves,
    images: list[tuple[Tensor, Tensor]],
    x: Tensor,
    shown: int,
    row: int,
    spans: list[tuple[str, float, float]],
    xlabel: str,
    row_label: str,
    softmax: bool,
) -> list[Panel]:
    """Loss over the images; of one of them the gradient along a row of pixels."""
    losses, grads = [], []
    for label, loss in curves.items():
        measured = [measure(loss, probs, truth, softmax=softmax) for probs, truth in images]
        losses.append(Line(label, x, torch.stack([one.value for one in measured])))
        grad = measured[shown].grad[row].abs()
        grads.append(Line(label, torch.arange(len(grad)), grad))
    return [Panel("loss", xlabel, losses), Panel("size of the gradient", row_label, grads, spans=spans)]


def _partly_found(share: float) -> tuple[Tensor, Tensor]:
    index = torch.arange(PIXELS).view(1, -1)
    return _sure(index < round(share * PIXELS / 10)), index < PIXELS // 10


def _all_missed(share: Tensor) -> tuple[Tensor, Tensor]:
    index = torch.arange(PIXELS).view(1, -1)
    return _sure(index < 0), index < round(share.item() * PIXELS)


def _sure(found: Tensor) -> Tensor:
    return torch.where(found, SURE, 1 - SURE).double()
