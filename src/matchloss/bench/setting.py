"""Where rows are built: the device, the dtype of predictions, the random numbers, the peers at hand."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .peers import Peers


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@dataclass
class Setting:
    """Random tensors come from the CPU's generator, so that all devices see the same ones."""

    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    quick: bool = False
    """Small tensors: does it run, not how fast."""
    peers: Peers = field(default_factory=lambda: Peers(wanted=False))
    generator: torch.Generator = field(default_factory=_seeded)

    def rand(self, *shape: int) -> Tensor:
        """Between 0 and 1, on the CPU."""
        return torch.rand(shape, generator=self.generator)

    def randn(self, *shape: int) -> Tensor:
        """Normal, on the CPU."""
        return torch.randn(shape, generator=self.generator)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """From low up to high, high left out, on the CPU."""
        return torch.randint(low, high, shape, generator=self.generator)

    def to_device(self, values: Tensor) -> Tensor:
        """Targets, as they are."""
        return values.to(self.device)

    def leaf(self, values: Tensor) -> Tensor:
        """Predictions, whose gradient is asked for."""
        return values.to(self.device, self.dtype).requires_grad_()
