"""One training of the study, from its seed to its record."""

import math
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from matchloss.criteria import SegmentationCriterion
from matchloss.recipes.augment import augment, normalize
from matchloss.recipes.data import Sample
from matchloss.recipes.inference import predict_labels
from matchloss.recipes.metrics import Scores, confusion_matrix, empty_matrix, score
from matchloss.recipes.optim import learning_rate, make_optimizer
from matchloss.recipes.settings import TrainSettings
from matchloss.recipes.stream import draws_of_step
from study_data import Split, crops_of_share, foreground_share, whole_images
from study_gradients import by_class, hard_parts
from study_runs import LOSSES, Length, Run

CLASSES = ["background", "nucleus"]
CHANNELS = (8, 16, 32, 64, 96)
REACHED = 0.7
LOOKED_AT = 3
"""Every so many-th validation image is scored during a run, all of them at its end."""
SIDE = 128
"""Of the validation crops on which hard pixels are looked for."""


def train(run: Run, length: Length, data: Path) -> dict[str, object]:
    """Train, and return the record."""
    began = time.perf_counter()
    split = images_of(run, length, data)
    settings = TrainSettings(steps=length.steps, batch_size=length.batch_size, lr=length.lr, warmup=10, seed=run.seed)
    torch.manual_seed(run.seed)  # equal weights and batches for all losses: differences are paired by seed
    model = small_unet()
    optimizer, criterion = make_optimizer(model, settings), SegmentationCriterion(LOSSES[run.loss])
    losses, norms, history = [], [], []
    record: dict[str, object] = {"foreground": foreground_share(split.train)}
    for step in range(length.steps):
        images, labels = batch_of(run, split, settings, length.crop, step)
        logits = model(images)
        if step == 0:
            record["at_start"] = by_class(criterion, logits, labels)
        if step == length.steps // 2 and run.share is None and run.loss == "cross_entropy":
            record["hard_parts"] = hard_parts(*crops_to_look_at(model, split.val))
        loss = criterion(logits, labels).total
        optimizer.zero_grad()
        loss.backward()
        # No clipping: it would hide the gradients that are to be measured. An infinite bound gives the norm alone.
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), math.inf).item())
        losses.append(loss.item())
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step)
        optimizer.step()
        if (step + 1) % length.validate_every == 0:
            history.append([step + 1, scores_of(model, split.val[::LOOKED_AT]).mean_iou])
    scores = scores_of(model, split.val)
    return record | {
        "iou": scores.mean_iou,
        "dice": scores.mean_dice,
        "history": history,
        "steps_to_reach": next((step for step, iou in history if iou >= REACHED), None),
        "norm_spread": spread(norms[length.steps // 2 :]),
        "loss": [float(f"{value:.5g}") for value in losses],
        "gradient_norm": [float(f"{value:.5g}") for value in norms],
        "seconds": round(time.perf_counter() - began, 1),
    }


def small_unet() -> nn.Module:
    """The recipe's U-Net at half its width, so that dozens of runs fit into half an hour."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing MONAI touches old names of libraries it does not need here
        from monai.networks.nets import UNet

    model: nn.Module = UNet(
        spatial_dims=2,
        in_channels=3,
        out_channels=2,
        channels=CHANNELS,
        strides=(2,) * (len(CHANNELS) - 1),
        num_res_units=2,
        norm=("INSTANCE", {"affine": True}),
    )
    return model


def images_of(run: Run, length: Length, data: Path) -> Split:
    """What the run trains on and is scored on."""
    if run.share is None:
        return whole_images(data)
    return crops_of_share(data, run.share, length.crop, length.train_crops, length.val_crops)


def batch_of(run: Run, split: Split, settings: TrainSettings, crop: int, step: int) -> tuple[Tensor, Tensor]:
    """Augmented crops; those of a stated share keep their scale and place, so that they keep the share."""
    scale = (0.75, 1.33) if run.share is None else (1.0, 1.0)
    draws = draws_of_step(step, batch_size=settings.batch_size, size=len(split.train), seed=settings.seed)
    pairs = [
        augment(
            split.train[draw.sample],
            np.random.default_rng((1, settings.seed, step, draw.position)),
            size=crop,
            scale=scale,
        )
        for draw in draws
    ]
    images, labels = zip(*pairs, strict=True)
    return torch.stack(images), torch.stack(labels)


def spread(norms: list[float]) -> dict[str, float]:
    """Two measures without a unit, so that losses of any scale compare: one feels a single spike, one does not."""
    values = np.asarray(norms)
    low, high = np.percentile(values, (5, 95))
    return {"deviation_over_mean": float(values.std() / values.mean()), "p95_over_p5": float(high / low)}


@torch.no_grad()
def scores_of(model: nn.Module, samples: list[Sample]) -> Scores:
    """From one confusion matrix over all pixels."""
    model.eval()
    total = empty_matrix(2, torch.device("cpu"))
    for sample in samples:
        total += confusion_matrix(predict_labels(model, sample.image), sample.labels, classes=2)
    model.train()
    return score(total, CLASSES)


@torch.no_grad()
def crops_to_look_at(model: nn.Module, samples: list[Sample]) -> tuple[Tensor, Tensor]:
    """Logits and labels of a corner of every validation image."""
    images = torch.stack([normalize(sample.image)[:, :SIDE, :SIDE] for sample in samples])
    return model(images), torch.stack([sample.labels[:SIDE, :SIDE] for sample in samples])
