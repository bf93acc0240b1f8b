"""An exponential moving average of a model's weights: steadier than the last step's, and mostly better."""

import copy
from typing import Any

import torch
from torch import Tensor, nn


class AveragedModel:
    """A copy of a model that follows its weights slowly.

    The n-th update takes the share 1 - min(decay, (1 + n) / (10 + n)) of the new weights. At first that is much: the
    random weights of the start would stay in an average of constant decay for thousands of steps.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights as they are after a step."""
        self.updates += 1
        share = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        for average, value in zip(_tensors(self.model), _tensors(model), strict=True):
            if average.is_floating_point():
                average.lerp_(value, share)
            else:  # counters, of which a mean means nothing
                average.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """Give what a checkpoint needs."""
        return {"model": self.model.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.model.load_state_dict(state["model"])
        self.updates = int(state["updates"])


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
