"""A small scene for the criteria of dense detectors: three images, two levels, a crowd, an image without objects."""

import torch
from torch import Tensor, nn

from host_reads import NoHostReads
from inputs import generator
from matchloss.types import Targets

STRIDES = (8, 16)
SIZE = (48, 64)
CLASSES = 3
BINS = 4

CAR = {"boxes": torch.tensor([[4.0, 4.0, 28.0, 20.0]]), "labels": torch.tensor([1])}
CROWD = {
    "boxes": torch.tensor([[2.0, 2.0, 30.0, 26.0], [20.0, 18.0, 44.0, 40.0], [40.0, 2.0, 62.0, 30.0]]),
    "labels": torch.tensor([0, 2, 1]),
    "iscrowd": torch.tensor([0, 0, 1]),
}
NOTHING = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
ANNOTATIONS = [CAR, CROWD, NOTHING]


def targets(annotations=ANNOTATIONS, dtype: torch.dtype = torch.float64) -> Targets:
    padded = Targets.from_list(annotations, image_size=SIZE)
    return padded._replace(boxes=padded.boxes.to(dtype), weights=padded.weights.to(dtype))


def levels(
    *, batch: int = 3, channels: int = CLASSES, width: int = 4 * BINS, key: str = "distances", seed: int = 0
) -> list[dict[str, Tensor]]:
    """Random outputs, float64."""
    rng = generator(seed)

    def maps(count: int, stride: int) -> Tensor:
        size = (batch, count, SIZE[0] // stride, SIZE[1] // stride)
        return torch.randn(size, generator=rng, dtype=torch.float64)

    return [{"logits": maps(channels, stride) - 1, key: maps(width, stride)} for stride in STRIDES]


def flattened(outputs: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The same outputs as rows: (B, A, .)."""
    return {name: torch.cat([level[name].flatten(2).mT for level in outputs], 1) for name in outputs[0]}


def leaves(outputs: list[dict[str, Tensor]], dtype: torch.dtype = torch.float64) -> list[dict[str, Tensor]]:
    return [{name: maps.detach().to(dtype).requires_grad_() for name, maps in level.items()} for level in outputs]


def gradients(total: Tensor, outputs: list[dict[str, Tensor]]) -> list[Tensor]:
    inputs = [maps for level in outputs for maps in level.values()]
    return list(torch.autograd.grad(total, inputs))


def of_images(outputs: list[dict[str, Tensor]], part: slice) -> list[dict[str, Tensor]]:
    return [{name: maps[part] for name, maps in level.items()} for level in outputs]


def assert_reads_nothing_on_the_host(criterion: nn.Module, outputs: list[dict[str, Tensor]], targets: Targets) -> None:
    """On a device without data: what a GPU would run, whose values nobody can look at."""
    on_meta = leaves([{name: maps.to("meta") for name, maps in level.items()} for level in outputs])
    moved = targets._replace(
        **{name: value.to("meta") for name, value in targets._asdict().items() if isinstance(value, Tensor)}
    )
    with NoHostReads():
        gradients(criterion(on_meta, moved).total, on_meta)
