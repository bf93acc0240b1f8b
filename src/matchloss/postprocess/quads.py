"""Quads between the image that a network saw and the photo: :func:`rescale_quads`."""

import torch
from torch import Tensor

from .._core import check_float, check_positive, to_compute


def rescale_quads(
    quads: Tensor, *, image_size: tuple[int, int], photo_size: tuple[int, int], clip: bool = False
) -> Tensor:
    """Take quads from the pixels of the resized image to those of the photo.

        x' = x · W' / W,   y' = y · H' / H

    Scored words are those of the photo; whoever pads an image after resizing it gives its size before the padding.

    Shapes:
        quads: (..., 4, 2) in pixels of the resized image.
        returns: (..., 4, 2) in pixels of the photo, float32 (float64 for float64).

    Args:
        image_size: (H, W) of the resized image, without padding.
        photo_size: (H', W') of the photo.
        clip: move corners outside the photo to its border. This bends a rotated rectangle.

    Raises:
        ValueError: quads of another shape, a size that is not positive.

    Example:
        >>> quad = torch.tensor([[0.0, 0.0], [30.0, 0.0], [30.0, 5.0], [0.0, 5.0]])
        >>> rescale_quads(quad, image_size=(10, 20), photo_size=(40, 40), clip=True)
        tensor([[ 0.,  0.],
                [40.,  0.],
                [40., 20.],
                [ 0., 20.]])
    """
    check_float("rescale_quads", "quads", quads)
    if quads.shape[-2:] != (4, 2):
        raise ValueError(f"rescale_quads: expected quads (..., 4, 2), got {tuple(quads.shape)}")
    for name, size in {"image_size": image_size, "photo_size": photo_size}.items():
        check_positive("rescale_quads", name, min(size))
    (height, width), (photo_height, photo_width) = image_size, photo_size
    x, y = to_compute(quads).unbind(-1)
    x, y = x * (photo_width / width), y * (photo_height / height)
    if clip:
        x, y = x.clamp(0, photo_width), y.clamp(0, photo_height)
    return torch.stack([x, y], -1)
