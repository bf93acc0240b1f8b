"""Region losses against MONAI, kornia and transformers: each of their conventions as a recipe of ours."""

import pytest
import torch
from torch import Tensor

from inputs import absent_classes, binary_maps, class_distributions, class_logits, generator
from matchloss import losses

pytestmark = pytest.mark.parity
monai = pytest.importorskip("monai.losses")
kornia = pytest.importorskip("kornia.losses")


def labelled(make=class_logits) -> tuple[Tensor, Tensor]:
    """Logits with labels, all valid."""
    inputs = make(3)
    return inputs.predictions, inputs.targets.clamp(min=0)


def close(got: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(got, wanted.to(got.dtype), rtol=1e-6, atol=1e-7)


def same_gradient(ours, theirs, logits: Tensor) -> None:
    """Value and gradient of two functions of the logits."""
    results = []
    for loss in (ours, theirs):
        leaf = logits.clone().requires_grad_()
        value = loss(leaf)
        results.append((value.detach(), *torch.autograd.grad(value, leaf)))
    close(results[0][0], results[1][0])
    close(results[0][1], results[1][1])


@pytest.mark.parametrize("make", [class_logits, absent_classes])
@pytest.mark.parametrize("jaccard", [False, True])
@pytest.mark.parametrize("squared", [False, True])
def test_monai_dice(make, jaccard: bool, squared: bool) -> None:
    logits, labels = labelled(make)
    theirs = monai.DiceLoss(softmax=True, to_onehot_y=True, jaccard=jaccard, squared_pred=squared)
    form = "squared" if squared else "linear"
    if jaccard:

        def ours(x: Tensor) -> Tensor:
            return losses.softmax_jaccard_loss(x, labels, smooth=5e-6, form=form, empty="keep")

    else:

        def ours(x: Tensor) -> Tensor:
            return losses.softmax_dice_loss(x, labels, smooth=1e-5, form=form, empty="keep")

    same_gradient(ours, lambda x: theirs(x, labels.unsqueeze(1)), logits)


def test_monai_dice_without_background_and_pooled_over_the_batch() -> None:
    logits, labels = labelled()
    theirs = monai.DiceLoss(softmax=True, to_onehot_y=True, include_background=False, batch=True)
    weights = torch.tensor([0.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    ours = losses.SoftmaxDiceLoss(smooth=1e-5, empty="keep", per_image=False, class_weights=weights)
    same_gradient(lambda x: ours(x, labels), lambda x: theirs(x, labels.unsqueeze(1)), logits)


def test_monai_multiplies_class_weights_without_dividing_by_them() -> None:
    logits, labels = labelled()
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    theirs = monai.DiceLoss(softmax=True, to_onehot_y=True, weight=weights)(logits, labels.unsqueeze(1))
    each = losses.softmax_dice_loss(logits, labels, smooth=1e-5, empty="keep", reduction="none")
    close((each * weights).mean(), theirs)


def test_monai_sigmoid_dice_of_soft_and_hard_maps() -> None:
    inputs = binary_maps(3)
    theirs = monai.DiceLoss(sigmoid=True)
    same_gradient(
        lambda x: losses.sigmoid_dice_loss(x, inputs.targets, smooth=1e-5, empty="keep"),
        lambda x: theirs(x, inputs.targets),
        inputs.predictions,
    )
    soft = class_distributions(3)
    theirs = monai.DiceLoss(softmax=True, soft_label=True)
    same_gradient(
        lambda x: losses.softmax_dice_loss(x, soft.targets, smooth=1e-5, form="min"),
        lambda x: theirs(x, soft.targets),
        soft.predictions,
    )


@pytest.mark.parametrize("make", [class_logits, absent_classes])
def test_monai_tversky(make) -> None:
    logits, labels = labelled(make)
    theirs = monai.TverskyLoss(softmax=True, to_onehot_y=True, alpha=0.3, beta=0.7)
    same_gradient(
        lambda x: losses.softmax_tversky_loss(x, labels, alpha=0.3, beta=0.7, smooth=1e-5, empty="keep"),
        lambda x: theirs(x, labels.unsqueeze(1)),
        logits,
    )


@pytest.mark.parametrize("weighting", ["square", "simple", "uniform"])
def test_monai_generalized_dice(weighting: str) -> None:
    logits, labels = labelled(absent_classes)
    theirs = monai.GeneralizedDiceLoss(softmax=True, to_onehot_y=True, w_type=weighting)
    same_gradient(
        lambda x: losses.softmax_generalized_dice_loss(x, labels, weighting=weighting, smooth=1e-5, empty="penalize"),
        lambda x: theirs(x, labels.unsqueeze(1)),
        logits,
    )


def test_monai_dice_cross_entropy_is_one_criterion() -> None:
    from matchloss.criteria import SegmentationCriterion

    logits, labels = labelled()
    theirs = monai.DiceCELoss(softmax=True, to_onehot_y=True)
    dice = losses.SoftmaxDiceLoss(smooth=1e-5, empty="keep")
    ours = SegmentationCriterion({"cross_entropy": 1.0, "dice": (1.0, dice)})
    same_gradient(lambda x: ours(x, labels).total, lambda x: theirs(x, labels.unsqueeze(1)), logits)


def mean_of_image_means(each: Tensor, labels: Tensor) -> Tensor:
    """kornia averages an image's classes first, so a class counts less in an image of many; ours counts all alike."""
    present = (labels.flatten(1).unsqueeze(1) == torch.arange(each.shape[1]).view(1, -1, 1)).any(2)
    return (each.sum(1) / present.sum(1)).mean()


def test_kornia_dice_micro_is_the_mean_error_and_macro_is_ours() -> None:
    logits, labels = labelled(absent_classes)
    micro = kornia.dice_loss(logits, labels, average="micro")
    ours = losses.softmax_generalized_dice_loss(logits, labels, weighting="uniform", empty="penalize")
    close(ours, micro)
    p_true = logits.softmax(1).gather(1, labels.unsqueeze(1))
    close(1 - p_true.mean(), micro)  # a linear loss of the label's probability, not an overlap
    each = losses.softmax_dice_loss(logits, labels, reduction="none")
    close(mean_of_image_means(each, labels), kornia.dice_loss(logits, labels, average="macro"))


def test_kornia_tversky_tells_alpha_from_beta() -> None:
    logits, labels = labelled()
    for alpha, beta in ((0.3, 0.7), (0.7, 0.3), (0.1, 0.9)):
        each = losses.softmax_tversky_loss(logits, labels, alpha=alpha, beta=beta, reduction="none")
        close(mean_of_image_means(each, labels), kornia.tversky_loss(logits, labels, alpha, beta))


def test_transformers_mask_dice() -> None:
    detr = pytest.importorskip("transformers.loss.loss_for_object_detection")
    masks = 2 * torch.randn(5, 40, generator=generator(1), dtype=torch.float64)
    targets = (torch.rand(5, 40, generator=generator(2)) < 0.3).double()
    targets[0] = 0
    ours = losses.sigmoid_dice_loss(masks, targets, smooth=1.0, empty="keep", class_dim=None, reduction="sum") / 7
    close(ours, detr.dice_loss(masks, targets, 7))
