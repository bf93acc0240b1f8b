"""Exact distances to the boundary of regions: :func:`signed_distance_maps`."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .._core import check_positive
from ._class_inputs import labelled


def signed_distance_maps(
    labels: Tensor, classes: int, *, spacing: Sequence[float] | None = None, ignore_index: int | None = -100
) -> Tensor:
    """Distance of each pixel to the region of each class: positive outside, 0 or negative inside.

        φ = min over the region of |x - y| outside,   -(min over the rest of |x - y| - 1) inside

    The maps of :func:`boundary_loss`. Make them once, in the data loader, where workers hide the time it takes:
    ``signed_distance_maps(labels[None], classes)[0]`` for a single image.

    Shapes:
        labels: (N, H, W) or (N, D, H, W) integers in [0, classes), -1 for no class; always with a batch dimension.
        returns: (N, classes, H, W) or (N, classes, D, H, W) float32.

    Args:
        classes: how many classes there are.
        spacing: size of a pixel along each of (H, W) or (D, H, W); None for 1 each.
        ignore_index: label that belongs to no class here; its pixels count as outside of all. None for no such label.

    Raises:
        ValueError: shapes or spacing that do not fit, on the CPU a label out of range.

    Reference:
        Kervadec et al. 2019, arXiv:1812.07032, section 2.

    Differs:
        As in the authors' code and MONAI, the pixels inside next to the boundary have 0 and those outside 1, and a
        class that is absent, or fills the image, has a map of zeros. With a spacing, its smallest entry takes the
        place of that 1: a fixed 1 would make the inside positive where pixels are smaller.

    Example:
        >>> signed_distance_maps(torch.tensor([[[0, 1, 1, 1, 0, 0]]]), 2)[0, 1]
        tensor([[ 1.,  0., -1.,  0.,  1.,  2.]])
    """
    caller = "signed_distance_maps"
    check_positive(caller, "classes", classes)
    check_space(caller, labels.shape[1:], spacing)
    valid = labelled(caller, labels, classes, ignore_index, lowest=-1)
    inside = torch.stack([labels == index for index in range(classes)], 1)
    return signed_distances(inside if valid is None else inside & valid.unsqueeze(1), spacing, torch.float32)


def signed_distances(foreground: Tensor, spacing: Sequence[float] | None, dtype: torch.dtype) -> Tensor:
    """``φ`` of ``(N, C, *)`` bool maps."""
    spacing = [1.0] * (foreground.ndim - 2) if spacing is None else [float(step) for step in spacing]
    distances = boundary_distances(foreground, spacing, dtype)
    return torch.where(distances < 0, distances + min(spacing), distances)


@torch.library.custom_op(
    "matchloss::boundary_distances",
    mutates_args=(),
    schema="(Tensor foreground, float[] spacing, ScalarType dtype) -> Tensor",
)
def boundary_distances(foreground: Tensor, spacing: list[float], dtype: torch.dtype) -> Tensor:
    """Outside the distance to the nearest pixel inside, inside minus that to the nearest outside; 0 without either.

    A custom operator, since scipy works on the host: compilers and function transforms call it without looking inside.
    """
    from scipy.ndimage import distance_transform_edt  # here, since it would take longer to load than all of matchloss

    maps = foreground.detach().cpu().numpy()
    distances = np.zeros(maps.shape)
    for index in np.ndindex(*maps.shape[:2]):
        inside = maps[index]
        if inside.any() and not inside.all():
            to_inside = distance_transform_edt(~inside, sampling=spacing)
            distances[index] = to_inside - distance_transform_edt(inside, sampling=spacing)
    return torch.from_numpy(distances).to(dtype).to(foreground.device)


@boundary_distances.register_fake
def _(foreground: Tensor, spacing: list[float], dtype: torch.dtype) -> Tensor:
    return torch.empty(foreground.shape, dtype=dtype, device=foreground.device)


def check_space(caller: str, size: Sequence[int], spacing: Sequence[float] | None = None) -> None:
    """Reject what is neither an image nor a volume: batch or classes taken for space would give wrong distances."""
    if len(size) not in (2, 3):
        raise ValueError(f"{caller}: expected 2 or 3 dimensions of space beside batch and classes, got {tuple(size)}")
    if spacing is not None and (len(spacing) != len(size) or min(spacing) <= 0):
        raise ValueError(f"{caller}: expected spacing of {len(size)} positive numbers, got {tuple(spacing)}")
