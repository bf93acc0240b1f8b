"""A small scene for the criteria of scene text: an image with two words, one with a hidden word, one without text."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from host_reads import NoHostReads
from inputs import generator
from matchloss.types import DBMaps, EASTMaps, LossTerms

SIZE = (5, 6)
CORNERS = torch.tensor([[-9.0, -4.0], [14.0, -5.0], [15.0, 5.0], [-8.0, 6.0]], dtype=torch.float64)


def words() -> Tensor:
    """(3, h, w) index of the word at a pixel, -1 for background."""
    index = torch.full((3, *SIZE), -1)
    index[0, 1, 0:3], index[0, 3:5, 2:5] = 0, 1
    index[1, 2, 1:5], index[1, 4, 0:2] = 0, 1
    return index


def valid() -> Tensor:
    """(3, 1, h, w); the second word of the second image, and a strip of each, are not to be used."""
    kept = (words() != 1) | (torch.arange(3)[:, None, None] != 1)
    kept[:, 0, 4:] = False
    return kept[:, None]


def random(*size: int, seed: int) -> Tensor:
    return torch.rand(size, generator=generator(seed), dtype=torch.float64)


def maps(channels: int = 5) -> EASTMaps:
    text = (words() >= 0)[:, None]
    if channels == 5:
        geometry = torch.cat([2 + 30 * random(3, 4, *SIZE, seed=1), random(3, 1, *SIZE, seed=2) - 0.5], 1)
    else:
        geometry = CORNERS.reshape(1, 8, 1, 1) + 3 * random(3, 8, *SIZE, seed=1)
    edge = 5 + random(3, 1, *SIZE, seed=3)
    return EASTMaps(text.double(), geometry.where(text, 0), valid(), words(), edge.where(text, 0))


def outputs(channels: int = 5, *, requires_grad: bool = False) -> list[Tensor]:
    """Scores, and geometry that is off by a third or so."""
    scores = 4 * random(3, 1, *SIZE, seed=4) - 2
    geometry = maps(channels).geometry
    if channels == 5:
        geometry = geometry * (0.6 + 0.8 * random(3, 5, *SIZE, seed=5)) + 0.2 * random(3, 5, *SIZE, seed=6)
    else:
        geometry = geometry + 4 * random(3, 8, *SIZE, seed=5) - 2
    return leaves([scores, geometry]) if requires_grad else [scores, geometry]


def db_maps() -> DBMaps:
    text = (words() >= 0)[:, None]
    near = random(3, 1, *SIZE, seed=7) < 0.4
    return DBMaps(text.double(), valid(), 0.3 + 0.4 * random(3, 1, *SIZE, seed=8), near)


def db_outputs() -> dict[str, Tensor]:
    return {name: 3 * random(3, 1, *SIZE, seed=seed) - 1.5 for name, seed in (("score", 9), ("threshold", 10))}


def leaves(tensors: Sequence[Tensor], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [tensor.detach().to(dtype).requires_grad_() for tensor in tensors]


def gradients(loss: LossTerms, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss.total, inputs, allow_unused=True, materialize_grads=True)


def of_images(fields: Any, part: slice | Tensor) -> Any:
    return type(fields)(*(field[part] for field in fields))


def without_text(fields: Any) -> Any:
    """The same maps of images without words."""
    if isinstance(fields, DBMaps):
        return fields._replace(score=torch.zeros_like(fields.score))
    zeros = {name: torch.zeros_like(getattr(fields, name)) for name in ("score", "geometry", "shortest_edge")}
    return fields._replace(word_index=torch.full_like(fields.word_index, -1), **zeros)


def assert_reads_nothing_on_the_host(criterion: nn.Module, inputs: Sequence[Tensor], fields: Any) -> None:
    """On a device without data: what a GPU would run, whose values nobody can look at."""
    on_meta = [tensor.detach().to("meta").requires_grad_() for tensor in inputs]
    fields = type(fields)(*(field.to("meta") for field in fields))
    with NoHostReads():
        if isinstance(fields, DBMaps):
            gradients(criterion(dict(zip(("score", "threshold"), on_meta, strict=True)), fields), on_meta)
        else:
            gradients(criterion(*on_meta, fields), on_meta)
