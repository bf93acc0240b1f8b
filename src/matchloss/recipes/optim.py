"""The optimizer and its learning rate."""

import math

from torch import nn
from torch.optim import AdamW

from matchloss.recipes.settings import TrainSettings


def make_optimizer(model: nn.Module, settings: TrainSettings) -> AdamW:
    """AdamW that decays matrices and kernels; biases and norms have one dimension and no reason to be small."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=settings.lr)


def learning_rate(settings: TrainSettings, step: int) -> float:
    """Rise linearly over the warm-up, then fall along half a cosine to almost 0 at the last step."""
    if step < settings.warmup:
        return settings.lr * (step + 1) / settings.warmup
    progress = (step - settings.warmup) / max(settings.steps - settings.warmup, 1)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * progress))
