"""Training augmentation of photos with words."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from matchloss.recipes.crop_words import place_window
from matchloss.recipes.data import WordSample
from matchloss.recipes.pixel_scale import PixelScale
from matchloss.recipes.warp_photo import Tint, View, draw_view

Floats = npt.NDArray[np.float64]

# Of a word that is cut, so much of the area must be left; else nobody could tell from what is seen where it ends.
LEAST_VISIBLE = 0.8
POINTS = 16  # along each side of a word, to see how much of it is left


class WordScene(NamedTuple):
    """A view for the network, with its words."""

    image: Tensor  # float32 (3, H, W), normalised; 0, the mean, where there is no photo
    quads: Tensor  # float32 (n, 4, 2), pixels of this view, clockwise from the word's top left; may reach out of it
    ignore: Tensor  # bool (n,)


def augment_words(
    sample: WordSample,
    rng: np.random.Generator,
    *,
    size: tuple[int, int],
    long_side: int | None = None,
    scale: tuple[float, float] = (0.5, 2.0),
    rotate: float = 10.0,
    empty: float = 0.1,
    color: float = 1.0,
    pixels: PixelScale | None = None,
) -> WordScene:
    """A random view of a photo, turned, scaled and cut between its words, ready for the network.

    A pure function of the sample and the generator's state; it draws the same count of numbers whatever the options.
    The place is drawn evenly from all those that show a whole word and cut none, or else cut as few as can be; words to
    be ignored may be cut. A cut word of which less than 80 % of the area is seen is ignored, for it would be wrong to
    teach it as background, and as wrong to teach corners that cannot be seen. One that keeps more stays as it is, its
    corners outside. Nothing is mirrored: mirrored letters are none.

    Args:
        sample: a photo with words; left as it is.
        rng: the only source of randomness.
        size: (height, width) of the view.
        long_side: length of the photo's long side at zoom 1, the one at inference; None is its own.
        scale: range of the zoom, drawn log-uniformly.
        rotate: largest turn, in degrees, either way.
        empty: chance of a view without words, where the photo has room for one.
        color: strength of the jitter of gamma, contrast, brightness and channels; 0 turns it off.
        pixels: scale of the pixels; None for standardised ones. The jitter is the same on each.
    """
    numbers = rng.random(6)
    tint = Tint(color * rng.uniform(-1.0, 1.0, 6), bool(rng.random() < 0.1 * color))
    height, width = sample.image.shape[1:]
    base = 1.0 if long_side is None else long_side / max(height, width)
    zoom = base * scale[0] * math.exp(numbers[0] * math.log(scale[1] / scale[0]))
    angle = math.radians(rotate) * (2 * numbers[1] - 1)
    view = View(zoom, angle, np.array([width / 2, height / 2]), np.zeros(2))

    quads, ignore = sample.quads.double().numpy(), sample.ignore.numpy()
    words = _bounds(view.see(quads[~ignore]))
    room = _room(view, size)
    corner, _ = place_window(words, (size[1], size[0]), room, numbers[3:], words=bool(numbers[2] >= empty))
    view = view._replace(corner=corner)
    image = draw_view(sample.image, view, size, tint, pixels)
    return WordScene(image, *_carry(view.see(quads), ignore, size))


def visible_share(quads: Floats, size: tuple[int, int]) -> Floats:
    """Share of each quad (n, 4, 2) that lies inside a view of (height, width), by a net of points spread over it."""
    step = (np.arange(POINTS) + 0.5) / POINTS
    u, v = step[:, None, None], step[:, None]
    first, second, third, fourth = (quads[:, k, None, None] for k in range(4))
    points = (first * (1 - u) + second * u) * (1 - v) + (fourth * (1 - u) + third * u) * v
    inside = ((points >= 0) & (points <= np.array(size[::-1]))).all(-1)
    share: Floats = inside.mean((1, 2))
    return share


def _carry(quads: Floats, ignore: npt.NDArray[np.bool_], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The words that are seen, and which of them count."""
    low, high = quads.min(1, initial=np.inf), quads.max(1, initial=-np.inf)
    keep = ((high > 0) & (low < np.array(size[::-1]))).all(-1)
    hidden = visible_share(quads[keep], size) < LEAST_VISIBLE
    return torch.from_numpy(quads[keep].astype(np.float32)), torch.from_numpy(ignore[keep] | hidden)


def _bounds(quads: Floats) -> Floats:
    return np.concatenate([quads.min(1), quads.max(1)], 1)


def _room(view: View, size: tuple[int, int]) -> tuple[Floats, Floats]:
    """From where to where the corner may go: the window stays in the photo, or the photo in the window if smaller."""
    photo, window = 2 * view.zoom * view.center, np.array(size[::-1])
    ends = -photo / 2, photo / 2 - window
    return np.minimum(*ends), np.maximum(*ends)
