"""Annotated words of a batch, padded to one length, the smallest first: what all encoders of text start from."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .._core import has_numba, use_fast_path
from ..geometry.quads import clockwise, crosses_itself, length, quad_area

FLAT = 1e-6
"""Area over the square of the longest side below which a quad is a line."""


class Words(NamedTuple):
    """Quads of B images, M a piece, sorted by area: who comes first owns a pixel that several want."""

    quads: Tensor
    """``(B, M, 4, 2)`` clockwise on the screen, finite; zeros where padded."""
    number: Tensor
    """``(B, M)`` int64, the word's place in its image's list."""
    valid: Tensor
    """``(B, M)`` bool, False where padded or not finite."""
    learnable: Tensor
    """``(B, M)`` bool, True for a readable word of proper shape and size; the other valid ones are only regions."""
    area: Tensor
    """``(B, M)`` positive."""
    shortest_edge: Tensor
    """``(B, M)``."""


def read_words(caller: str, quads: Sequence[Tensor], ignore: Sequence[Tensor], *, min_side: float) -> Words:
    """Check, pad, repair the winding, and tell words from regions; no data is read on the host."""
    _check(caller, quads, ignore)
    if all(may_use_numba(image) for image in quads):
        from ..kernels.word_lists_cpu import pad_words

        return Words(*pad_words(quads, ignore, FLAT, min_side))
    most = max(1, *(len(image) for image in quads))  # one at least: then there is something to gather from
    dtype = torch.float64 if any(image.dtype == torch.float64 for image in quads) else torch.float32
    corners = torch.stack([F.pad(image.detach().to(dtype), (0, 0, 0, 0, 0, most - len(image))) for image in quads])
    unreadable = torch.stack([F.pad(image, (0, most - len(image)), value=True) for image in ignore])
    lengths = torch.tensor([len(image) for image in quads], device=corners.device)
    valid = torch.arange(most, device=corners.device) < lengths[:, None]
    valid = valid & corners.isfinite().all(-1).all(-1)
    corners, area, shortest, proper = _measure(torch.where(valid[..., None, None], corners, 0.0))
    learnable = valid & ~unreadable & proper & (shortest >= min_side)
    order = area.sort(dim=1, stable=True).indices  # of equal areas the word listed first
    return Words(
        quads=corners.gather(1, order[..., None, None].expand(-1, -1, 4, 2)),
        number=order,
        valid=valid.gather(1, order),
        learnable=learnable.gather(1, order),
        area=area.gather(1, order),
        shortest_edge=shortest.gather(1, order),
    )


def may_use_numba(quads: Tensor) -> bool:
    """Whether the kernels for the CPU, which compute in float32, take these quads."""
    return quads.device.type == "cpu" and quads.dtype != torch.float64 and use_fast_path() and has_numba()


def read_size(caller: str, size: Sequence[int], stride: int) -> tuple[int, int]:
    """Height and width of the maps: as many cells as there are sampling points in the image."""
    if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise ValueError(f"{caller}: expected size (H, W) of two positive integers, got {tuple(size)}")
    return -(-size[0] // stride), -(-size[1] // stride)


def check_stride(caller: str, stride: int) -> None:
    """Reject a stride that is not a number of pixels."""
    if not isinstance(stride, int) or stride < 1:
        raise ValueError(f"{caller}: expected stride to be a positive integer, got {stride!r}")


def _measure(quads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The quads clockwise, their area, their shortest side, and which do not cross themselves and are not flat."""
    quads = clockwise(quads)
    sides = length(quads.roll(-1, -2) - quads)
    shortest, longest = sides.amin(-1), sides.amax(-1)
    area = quad_area(quads).abs()
    proper = (area > FLAT * longest * longest) & (shortest > 0) & ~crosses_itself(quads)
    return quads, area, shortest, proper


def _check(caller: str, quads: Sequence[Tensor], ignore: Sequence[Tensor]) -> None:
    if len(quads) == 0 or len(quads) != len(ignore):
        raise ValueError(
            f"{caller}: expected quads and ignore of the same images, one at least, got {len(quads)} and {len(ignore)}"
        )
    for number, (corners, flags) in enumerate(zip(quads, ignore, strict=True)):
        here = f"{caller}: image {number}"
        if corners.ndim != 3 or corners.shape[1:] != (4, 2) or corners.is_complex() or corners.dtype == torch.bool:
            raise ValueError(f"{here}: expected quads of numbers (N, 4, 2), got {corners.dtype} {tuple(corners.shape)}")
        if flags.shape != corners.shape[:1]:
            raise ValueError(f"{here}: expected ignore of shape ({len(corners)},), got {tuple(flags.shape)}")
        if flags.dtype != torch.bool:
            raise ValueError(f"{here}: expected ignore of dtype bool (True = unreadable), got {flags.dtype}")
