"""A turned and scaled view of a photo: its pixels, and where points of the photo lie in it."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from matchloss.recipes.augment import bend_grey, jitter_color
from matchloss.recipes.augment_boxes import measure
from matchloss.recipes.pixel_scale import PixelScale

Floats = npt.NDArray[np.float64]


class View(NamedTuple):
    """Photo to view: turn about the photo's centre, scale, and shift; both in pixels from the top left corner."""

    zoom: float
    angle: float  # radians, clockwise on the screen
    center: Floats  # (x, y) of the photo's centre
    corner: Floats  # (x, y) of the view's top left corner, from the centre, turned and scaled

    def see(self, points: Floats) -> Floats:
        """Where points (..., 2) of the photo lie in the view."""
        seen: Floats = (points - self.center) @ (self.zoom * self._turn()).T - self.corner
        return seen

    def trace(self, points: Floats) -> Floats:
        """Where points (..., 2) of the view lie in the photo."""
        return (points + self.corner) @ self._turn() / self.zoom + self.center

    def _turn(self) -> Floats:
        sine, cosine = math.sin(self.angle), math.cos(self.angle)
        return np.array([[cosine, -sine], [sine, cosine]])


class _Region(NamedTuple):
    """The part of a photo that a view shows."""

    rows: slice
    columns: slice


class Tint(NamedTuple):
    """Random numbers for the colours of a view."""

    jitter: Floats  # (6,), in [-1, 1] times the strength
    grey: bool


def draw_view(image: Tensor, view: View, size: tuple[int, int], tint: Tint, pixels: PixelScale | None) -> Tensor:
    """The view of an image uint8 (3, h, w), standardised by the whole image: float32 (3, H, W), 0 where nothing is.

    Only the region that is seen is touched. It is averaged down first where the view is smaller, or fine texture would
    alias, and then read bilinearly at the places the view asks for.
    """
    canvas = torch.zeros(3, *size)
    region = _region(view, size, (image.shape[1], image.shape[2]))
    seen = image[:, region.rows, region.columns]
    if not seen.numel():
        return canvas
    small = _shrink(seen, view.zoom)
    # Gamma and standardisation depend on the grey level alone, and there are only 256 of those.
    mean, deviation = measure(image)
    levels = (bend_grey(torch.arange(256.0), image, tint.jitter[0]) - mean) / deviation
    drawn = jitter_color(torch.from_numpy(levels.numpy()[small.numpy()]), tint.jitter[1:], grey=tint.grey)
    if pixels is not None:
        drawn = pixels.convert(drawn, mean, deviation)
    return F.grid_sample(drawn[None], _grid(view, size, region)[None], align_corners=False)[0]


def _region(view: View, size: tuple[int, int], shape: tuple[int, int]) -> _Region:
    """The pixels between the view's corners, with those that averaging and interpolation reach for."""
    height, width = size
    corners = view.trace(np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64))
    margin = 2 / min(1.0, view.zoom)
    limit = np.array(shape[::-1])
    x, y = np.clip(np.floor(corners.min(0) - margin), 0, limit).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(0) + margin), 0, limit).astype(int)
    return _Region(slice(y, bottom), slice(x, right))


def _shrink(image: Tensor, zoom: float) -> Tensor:
    if zoom >= 1:
        return image
    rows, columns = (max(1, round(length * zoom)) for length in image.shape[1:])
    last = image[None].contiguous(memory_format=torch.channels_last)
    return F.interpolate(last, (rows, columns), mode="bilinear", antialias=True)[0]


def _grid(view: View, size: tuple[int, int], region: _Region) -> Tensor:
    """Where each pixel of the view lies in the region, from -1 at its first edge to 1 at its last."""
    first, right, down = view.trace(np.array([[0.5, 0.5], [1.5, 0.5], [0.5, 1.5]]))
    start = np.array([region.columns.start, region.rows.start])
    half = np.array([region.columns.stop, region.rows.stop]) - start
    half = half / 2
    steps_x, steps_y = (right - first) / half, (down - first) / half
    grid = np.empty((*size, 2), np.float32)
    for axis, origin in enumerate((first - start) / half - 1):
        along, across = np.arange(size[1]) * steps_x[axis], np.arange(size[0]) * steps_y[axis] + origin
        np.add(across[:, None].astype(np.float32), along.astype(np.float32), out=grid[..., axis])
    return torch.from_numpy(grid)
