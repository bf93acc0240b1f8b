"""Lovász, boundary, Hausdorff and centre-line losses beside kornia and MONAI: each of their conventions as a recipe."""

import pytest
import torch
from torch import Tensor

from inputs import absent_classes, class_logits, generator
from matchloss import losses

pytestmark = pytest.mark.parity
kornia = pytest.importorskip("kornia.losses")
monai = pytest.importorskip("monai.losses")

CLASS_WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 0.0], dtype=torch.float64)


def image(seed: int = 0, classes: int = 4, size: tuple[int, ...] = (9, 11)) -> tuple[Tensor, Tensor]:
    """Logits with labels, all valid."""
    inputs = class_logits(2, classes=classes, size=size)
    labels = torch.randint(0, classes, (2, *size), generator=generator(seed))
    return inputs.predictions, labels


def maps(size: tuple[int, ...] = (9, 11)) -> tuple[Tensor, Tensor]:
    """Logits with binary maps, the last of them empty."""
    logits = 2 * torch.randn(2, 3, *size, generator=generator(3), dtype=torch.float64)
    targets = (torch.rand(logits.shape, generator=generator(4)) < 0.3).double()
    targets[:, -1] = 0
    return logits, targets


def same_gradient(ours, theirs, logits: Tensor, *, digits: float = 1e-6) -> None:
    """Value and gradient of two functions of the logits."""
    results = []
    for loss in (ours, theirs):
        leaf = logits.clone().requires_grad_()
        value = loss(leaf)
        results.append((value.detach(), *torch.autograd.grad(value, leaf)))
    for got, wanted in zip(*results, strict=True):
        torch.testing.assert_close(got, wanted.to(got.dtype), rtol=digits, atol=1e-2 * digits)


# kornia scores each image by itself, absent classes included


@pytest.mark.parametrize("make", [class_logits, absent_classes])
def test_kornia_lovasz_softmax(make) -> None:
    inputs = make(3)
    labels = inputs.targets.clamp(min=0)

    def ours(x: Tensor) -> Tensor:
        return losses.lovasz_softmax_loss(x, labels, per_image=True, classes="all")

    same_gradient(ours, lambda x: kornia.lovasz_softmax_loss(x, labels), inputs.predictions)


def test_kornia_lovasz_softmax_with_class_weights() -> None:
    """It divides by the number of classes, we by the sum of the weights."""
    logits, labels = image()
    factor = CLASS_WEIGHTS.sum() / 4

    def ours(x: Tensor) -> Tensor:
        options = {"per_image": True, "classes": "all", "class_weights": CLASS_WEIGHTS}
        return factor * losses.lovasz_softmax_loss(x, labels, **options)

    same_gradient(ours, lambda x: kornia.lovasz_softmax_loss(x, labels, CLASS_WEIGHTS), logits)


def test_kornia_lovasz_softmax_in_float32() -> None:
    logits, labels = image(size=(40, 50))

    def ours(x: Tensor) -> Tensor:
        return losses.lovasz_softmax_loss(x, labels, per_image=True, classes="all")

    same_gradient(ours, lambda x: kornia.lovasz_softmax_loss(x, labels), logits.float(), digits=1e-4)


def test_kornia_lovasz_hinge() -> None:
    logits, targets = maps()
    logits, targets = logits[:, 0], targets[:, 0]
    targets[0] = 0

    def ours(x: Tensor) -> Tensor:
        return losses.lovasz_hinge_loss(x, targets, per_image=True)

    same_gradient(ours, lambda x: kornia.lovasz_hinge_loss(x.unsqueeze(1), targets), logits)


# MONAI


@pytest.mark.parametrize("size", [(9, 11), (5, 6, 7)])
@pytest.mark.parametrize("background", [True, False])
def test_monai_boundary(size: tuple[int, ...], background: bool) -> None:
    logits, labels = image(size=size)
    theirs = monai.BoundaryLoss(softmax=True, to_onehot_y=True, include_background=background)

    def ours(x: Tensor) -> Tensor:
        return losses.boundary_loss(x, labels, classes=None if background else range(1, 4))

    same_gradient(ours, lambda x: theirs(x, labels.unsqueeze(1)), logits)


@pytest.mark.parametrize("size", [(9, 11), (5, 6, 7)])
def test_monai_boundary_of_maps(size: tuple[int, ...]) -> None:
    logits, targets = maps(size)
    theirs = monai.BoundaryLoss(sigmoid=True)
    same_gradient(lambda x: losses.sigmoid_boundary_loss(x, targets), lambda x: theirs(x, targets), logits)
    summed = monai.BoundaryLoss(sigmoid=True, reduction="sum")

    def of_means(x: Tensor) -> Tensor:
        return losses.sigmoid_boundary_loss(x, targets, reduction="none").flatten(2).mean(2).sum()

    same_gradient(of_means, lambda x: summed(x, targets), logits)


@pytest.mark.parametrize("size", [(9, 11), (5, 6, 7)])
@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_monai_hausdorff(size: tuple[int, ...], alpha: float) -> None:
    """It leaves out the background unless asked, and rounds its fields to float32."""
    logits, labels = image(size=size)
    theirs = monai.HausdorffDTLoss(alpha=alpha, softmax=True, to_onehot_y=True)

    def ours(x: Tensor) -> Tensor:
        return losses.hausdorff_loss(x, labels, alpha=alpha, classes=range(1, 4))

    same_gradient(ours, lambda x: theirs(x, labels.unsqueeze(1)), logits)


@pytest.mark.parametrize("size", [(9, 11), (5, 6, 7)])
def test_monai_hausdorff_of_maps(size: tuple[int, ...]) -> None:
    logits, targets = maps(size)
    theirs = monai.HausdorffDTLoss(sigmoid=True, include_background=True)
    same_gradient(lambda x: losses.sigmoid_hausdorff_loss(x, targets), lambda x: theirs(x, targets), logits)


@pytest.mark.parametrize("size", [(9, 11), (5, 6, 7)])
@pytest.mark.parametrize("iterations", [0, 3])
def test_monai_cldice_of_one_class(size: tuple[int, ...], iterations: int) -> None:
    """Equal without the 1e-4 that it adds to the harmonic mean."""
    logits, labels = image(classes=2, size=size)
    options = {"iter_": iterations, "softmax": True, "to_onehot_y": True, "include_background": False}
    theirs = monai.SoftclDiceLoss(smooth=1e-15, **options)

    def ours(x: Tensor) -> Tensor:
        return losses.soft_cldice_loss(x, labels, iterations=iterations, classes=[1])

    same_gradient(ours, lambda x: theirs(x, labels.unsqueeze(1)), logits)
    near = monai.SoftclDiceLoss(**options)(logits, labels.unsqueeze(1))
    assert 0 < near - ours(logits) < 1e-4


@pytest.mark.parametrize("size", [(9, 11), (5, 6, 7)])
def test_monai_cldice_of_one_map(size: tuple[int, ...]) -> None:
    logits, targets = maps(size)
    theirs = monai.SoftclDiceLoss(smooth=1e-15, sigmoid=True)
    for index in range(3):
        one = slice(index, index + 1)
        same_gradient(
            lambda x, t=targets[:, one]: losses.sigmoid_soft_cldice_loss(x, t),
            lambda x, t=targets[:, one]: theirs(x, t),
            logits[:, one],
        )
