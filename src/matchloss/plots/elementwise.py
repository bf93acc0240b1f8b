"""Slices of losses that are one number an element: over a difference, a probability, or a place in a distribution."""

import torch
from torch import Tensor

from .panels import Curves, Line, Loss, Panel

# An even number of points: none lies on the kink at 0, where a gradient of 0 would look like a hole.
POINTS = 300


def over_difference(curves: Curves) -> list[Panel]:
    """Regression losses over prediction - target."""
    x = torch.linspace(-3, 3, POINTS, dtype=torch.float64)
    measured = {label: _measure(loss, x, torch.zeros_like(x)) for label, loss in curves.items()}
    return _pair("prediction - target", {label: (x, *both) for label, both in measured.items()})


def over_right_class(curves: Curves, *, low: float = 0.004) -> list[Panel]:
    """Softmax losses over the probability of the right one of two classes."""
    p = torch.linspace(low, 1 - low, POINTS, dtype=torch.float64)
    measured = {}
    for label, loss in curves.items():
        logit = p.logit().requires_grad_()
        values = loss(
            torch.stack([logit, torch.zeros_like(p)], 1), torch.zeros(POINTS, dtype=torch.long), reduction="none"
        )
        (grad,) = torch.autograd.grad(values.sum(), logit)
        measured[label] = (p, values.detach(), grad.abs())
    return _pair("probability of the right class", measured)


def over_probability(
    curves: Curves, targets: dict[str, float], *, xlabel: str = "predicted probability"
) -> list[Panel]:
    """Sigmoid losses over p, each curve with the target of its label."""
    p = torch.linspace(0.004, 0.996, POINTS, dtype=torch.float64)
    measured = {
        label: (p, *_measure(loss, p.logit(), torch.full_like(p, targets[label]))) for label, loss in curves.items()
    }
    return _pair(xlabel, measured)


def over_share_of_positives(balanced: Loss, plain: Loss) -> list[Panel]:
    """A loss that is balanced within each image: a positive among negatives, by how many there are."""
    p = torch.linspace(0.004, 0.996, POINTS, dtype=torch.float64)
    measured = {}
    for label, loss, share in (
        ("1 % positives", balanced, 0.01),
        ("10 % positives", balanced, 0.1),
        ("50 % positives", balanced, 0.5),
        ("not balanced", plain, 0.5),
    ):
        targets = (torch.arange(100) < 100 * share).double().expand(POINTS, 100)
        values, grads = _measure(loss, p.logit()[:, None].expand(POINTS, 100), targets)
        measured[label] = (p, values[:, 0], grads[:, 0])  # the first of each image is a positive
    return _pair("probability predicted for a positive", measured, baseline="not balanced")


def over_expectation(loss: Loss, *, bins: int = 9, target: float = 3.3) -> list[Panel]:
    """A distribution over bins, of Gaussian shape, moved along."""
    centres = torch.linspace(0, bins - 1, POINTS, dtype=torch.float64)
    steps = torch.arange(bins) - centres[:, None]
    measured = {}
    for width in (0.6, 1.0, 2.0):
        values, grads = _measure(loss, -(steps**2) / (2 * width**2), torch.full_like(centres, target))
        measured[f"width {width} bins"] = (centres, values, grads.norm(dim=1))
    return _pair(f"centre of the distribution (target {target})", measured)


def _measure(loss: Loss, predictions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Loss of each element and the size of its gradient."""
    predictions = predictions.detach().requires_grad_()
    values = loss(predictions, targets, reduction="none")
    (grad,) = torch.autograd.grad(values.sum(), predictions)
    return values.detach(), grad.abs()


def _pair(
    xlabel: str, measured: dict[str, tuple[Tensor, Tensor, Tensor]], *, baseline: str | None = None
) -> list[Panel]:
    """Loss on the left, size of the gradient on the right."""
    losses = [Line(label, x, values, label == baseline) for label, (x, values, _) in measured.items()]
    grads = [Line(label, x, sizes, label == baseline) for label, (x, _, sizes) in measured.items()]
    return [Panel("loss", xlabel, losses), Panel("size of the gradient", xlabel, grads)]
