"""What the training engine asks of a recipe; all that is about data, model and losses stays behind it."""

from typing import Any, Protocol

import numpy as np
from lightning_fabric import Fabric
from torch import Tensor, nn

from matchloss.types import LossTerms


class Task(Protocol):
    """One kind of training, such as segmentation; the engine calls these and knows nothing else of it."""

    model: nn.Module
    training_size: int
    """How many training samples there are."""
    judged_by: str
    """Which of the validation scores picks the best checkpoint; more is better."""
    memory: dict[str, Tensor]
    """What a validation leaves for the next one to compare with; part of the checkpoint, empty at first."""

    def sample(self, index: int, rng: np.random.Generator, step: int) -> Any:
        """Read and augment a training sample for a step, with ``rng`` as the only source of chance."""

    def collate(self, samples: list[Any]) -> Any:
        """Put samples together: tensors in tuples, lists or dicts, which the engine moves to the device."""

    def loss(self, model: nn.Module, batch: Any) -> LossTerms:
        """Run the model, which may be wrapped for several processes, and compare."""

    def validate(self, model: nn.Module, fabric: Fabric) -> dict[str, float]:
        """Score the model over the validation samples; called by all processes, which share the work."""

    def pictures(self, model: nn.Module, fabric: Fabric) -> dict[str, Tensor]:
        """Draw a few predictions, uint8 (3, H, W) each; called by the main process alone."""
