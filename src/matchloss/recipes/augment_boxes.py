"""Training augmentation of images with boxes, and the resizing that inference shares with it."""

import math
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from matchloss.recipes.augment import bend_grey, jitter_color
from matchloss.recipes.data import BoxSample
from matchloss.recipes.pixel_scale import PixelScale

# A box of which less is left than this share of its area is no longer told from background, nor from its neighbours.
LEAST_VISIBLE = 0.2
LEAST_SIDE = 1.0  # pixels; what is thinner has nothing left to see
ROUNDING = 0.01  # pixels; so thin a sliver may lose its last digit, and its area, when its tile finds its place
NUMBERS_A_TILE = 5


class Samples(Protocol):
    """What augmentation reads from: a `BoxFolder`, or a list of samples."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> BoxSample: ...


class Scene(NamedTuple):
    """An image for the network, with its objects."""

    image: Tensor  # float32 (3, H, W), normalised; 0, the mean, where there is no image
    boxes: Tensor  # float32 (m, 4), xyxy, pixels of this image, inside it
    labels: Tensor  # int64 (m,)
    ignore: Tensor  # bool (m,)


class Letterboxed(NamedTuple):
    """An image for inference: scaled, put into the top left corner, and filled up at the right and bottom."""

    image: Tensor  # float32 (3, H, W), normalised; 0 where it was filled up
    scale: Tensor  # (4,): boxes of the original times this are boxes here
    size: tuple[int, int]  # (height, width) of the original

    def restore(self, boxes: Tensor) -> Tensor:
        """Map boxes (..., 4) back to the original image, and clip them to it."""
        height, width = self.size
        limit = torch.tensor([width, height, width, height], dtype=boxes.dtype, device=boxes.device)
        return (boxes / self.scale.to(boxes)).clamp_min(0.0).minimum(limit)


class _Span(NamedTuple):
    """What is cut from one axis of the image, and where it goes."""

    start: int
    length: int
    target_start: int
    target_length: int

    @property
    def source(self) -> slice:
        """What is cut."""
        return slice(self.start, self.start + self.length)

    @property
    def target(self) -> slice:
        """Where it goes."""
        return slice(self.target_start, self.target_start + self.target_length)


def augment_boxes(
    samples: Samples,
    index: int,
    rng: np.random.Generator,
    *,
    size: tuple[int, int],
    scale: tuple[float, float] = (0.75, 1.33),
    mosaic: float = 0.5,
    flip: bool = True,
    turn: bool = False,
    color: float = 1.0,
    pixels: PixelScale | None = None,
) -> Scene:
    """A random view of a sample, or of four in a mosaic, ready for the network.

    A pure function of the samples and the generator's state; it draws the same count of numbers whatever the options.
    Each image is standardised by the statistics of the whole image, as at inference. At zoom 1 the long side of the
    image is the long side of `size`, which is what `letterbox` makes of it: objects come in the size they will have.
    Boxes are cut at the border of their image; a box of which hardly anything is left is ignored, for it would be
    wrong to teach it as background, and as wrong to teach it as an object.

    Args:
        samples: where the images come from; left as they are.
        index: which sample.
        rng: the only source of randomness.
        size: (height, width) of the view.
        scale: range of the zoom, drawn log-uniformly for each image.
        mosaic: chance that three more samples share the view; each keeps its own zoom, cut to its quarter.
        flip: mirror left and right, half of the time.
        turn: all eight symmetries; right from a microscope or from above, wrong where there is an up.
        color: strength of the jitter of gamma, contrast, brightness and channels; 0 turns it off.
        pixels: scale of the pixels; None for standardised ones. The jitter is the same on each.
    """
    chance, *center = rng.random(3)
    others, numbers = rng.random(3), rng.random((4, NUMBERS_A_TILE))
    jitter, grey = color * rng.uniform(-1.0, 1.0, 6), bool(rng.random() < 0.1 * color)

    height, width = size
    canvas = torch.zeros(3, height, width)
    frames, indices = [(0, 0, height, width)], [index]
    if chance < mosaic:
        y, x = (max(1, round(length * (0.25 + 0.5 * c))) for length, c in zip(size, center, strict=True))
        # A view of one pixel has no four quarters; an empty one is left out.
        quarters = [(0, 0, y, x), (0, x, y, width), (y, 0, height, x), (y, x, height, width)]
        frames = [frame for frame in quarters if frame[2] > frame[0] and frame[3] > frame[1]]
        # Not `rng.integers`, which draws again and again until a number fits.
        indices += [int(number * len(samples)) for number in others]
    tiles = []
    for frame, chosen, drawn in zip(frames, indices, numbers, strict=False):
        top, left, bottom, right = frame
        zoom = max(size) * math.exp(drawn[0] * math.log(scale[1] / scale[0])) * scale[0]
        quarter, mirror = (int(4 * drawn[3]) if turn else 0), bool(drawn[4] < 0.5) and (flip or turn)
        shape = (right - left, bottom - top) if quarter % 2 else (bottom - top, right - left)
        tile = _place(samples[chosen], shape, zoom, drawn[1:3], jitter, grey=grey, pixels=pixels)
        tile = _turn(tile, quarter, mirror=mirror)
        canvas[:, top:bottom, left:right] = tile.image
        tiles.append(tile._replace(boxes=tile.boxes + torch.tensor([left, top, left, top])))
    parts = (torch.cat(part) for part in list(zip(*tiles, strict=True))[1:])
    return Scene(canvas, *parts)


def letterbox(image: Tensor, *, long_side: int, multiple: int = 32, pixels: PixelScale | None = None) -> Letterboxed:
    """Scale an image uint8 (3, h, w) to a long side, and fill it up to multiples of the network's stride.

    Images of different shape make a batch when they are padded further, with zeros, at the right and bottom.
    """
    height, width = image.shape[-2:]
    zoom = long_side / max(height, width)
    rows, columns = max(1, round(height * zoom)), max(1, round(width * zoom))
    mean, deviation = measure(image)
    canvas = torch.zeros(3, -(-rows // multiple) * multiple, -(-columns // multiple) * multiple)
    small = (_resize(image, rows, columns).float() - mean) / deviation
    canvas[:, :rows, :columns] = small if pixels is None else pixels.convert(small, mean, deviation)
    scale = torch.tensor([columns / width, rows / height]).repeat(2)
    return Letterboxed(canvas, scale, (height, width))


def measure(image: Tensor) -> tuple[float, float]:
    """Mean and deviation of a uint8 image, as `normalize` takes them; by counting levels, ten times as fast."""
    # reshape, not flatten, after the permute: an image in channels-last order needs no copy then.
    counts = torch.bincount(image.permute(1, 2, 0).reshape(-1), minlength=256).double()
    levels, total = torch.arange(256, dtype=torch.float64), counts.sum()
    mean = (counts @ levels) / total
    deviation = ((counts @ (levels - mean) ** 2) / total).sqrt()
    return float(mean), max(1.0, float(deviation))


def _place(
    sample: BoxSample,
    shape: tuple[int, int],
    zoom: float,
    place: npt.NDArray[np.float64],
    jitter: npt.NDArray[np.float64],
    *,
    grey: bool,
    pixels: PixelScale | None,
) -> Scene:
    """One image at a random place in a frame: cut where it is larger, surrounded by zeros where it is smaller."""
    zoom /= max(sample.image.shape[1:])
    y, x = (_span(sample.image.shape[axis + 1], shape[axis], zoom, place[axis]) for axis in (0, 1))
    boxes, visible = _carry(sample.boxes, x, y)
    sides, whole = visible[:, 2:] - visible[:, :2], boxes[:, 2:] - boxes[:, :2]
    hidden = (sides.prod(1) < LEAST_VISIBLE * whole.prod(1)) | (sides.amin(1) < LEAST_SIDE)
    keep = (sides > ROUNDING).all(1)
    canvas = torch.zeros(3, *shape)
    canvas[:, y.target, x.target] = _draw(sample.image, x, y, jitter, grey=grey, pixels=pixels)
    return Scene(canvas, visible[keep], sample.labels[keep], (sample.ignore | hidden)[keep])


def _draw(
    image: Tensor, x: _Span, y: _Span, jitter: npt.NDArray[np.float64], *, grey: bool, pixels: PixelScale | None
) -> Tensor:
    """Cut, scale, standardise and jitter the pixels, and bring them to their scale."""
    small = _resize(image[:, y.source, x.source], y.target_length, x.target_length)
    # Gamma and standardisation depend on the grey level alone, and there are only 256 of those.
    mean, deviation = measure(image)
    levels = (bend_grey(torch.arange(256.0), image, jitter[0]) - mean) / deviation
    drawn = jitter_color(levels[small.int()], jitter[1:], grey=grey)
    return drawn if pixels is None else pixels.convert(drawn, mean, deviation)


def _carry(boxes: Tensor, x: _Span, y: _Span) -> tuple[Tensor, Tensor]:
    """The boxes where the pixels went: whole, and what is left of them."""
    start, length = torch.tensor([x.start, y.start]), torch.tensor([x.length, y.length])
    low, room = torch.tensor([x.target_start, y.target_start]), torch.tensor([x.target_length, y.target_length])
    corners = (boxes.reshape(-1, 2, 2) - start) * (room / length) + low
    visible = corners.maximum(low).minimum(low + room)
    return corners.flatten(1), visible.flatten(1)


def _span(count: int, frame: int, zoom: float, place: float) -> _Span:
    """Whole pixels on both sides, so that boxes can follow exactly."""
    if count * zoom >= frame:
        length = min(count, max(1, round(frame / zoom)))
        return _Span(int(place * (count - length + 1)), length, 0, frame)
    target = max(1, round(count * zoom))
    return _Span(0, count, int(place * (frame - target + 1)), target)


def _turn(scene: Scene, quarter: int, *, mirror: bool) -> Scene:
    """Quarter turns, counter-clockwise, then left and right swapped."""
    image, boxes = scene.image, scene.boxes
    for _ in range(quarter):
        x1, y1, x2, y2 = boxes.unbind(1)
        boxes = torch.stack([y1, image.shape[2] - x2, y2, image.shape[2] - x1], 1)
        image = image.rot90(1, (1, 2))
    if mirror:
        x1, y1, x2, y2 = boxes.unbind(1)
        boxes = torch.stack([image.shape[2] - x2, y1, image.shape[2] - x1, y2], 1)
        image = image.flip(2)
    return scene._replace(image=image, boxes=boxes)


def _resize(image: Tensor, rows: int, columns: int) -> Tensor:
    """Bilinear, averaging when it shrinks; the network would otherwise see aliases of fine texture."""
    last = image[None].contiguous(memory_format=torch.channels_last)
    return F.interpolate(last, (rows, columns), mode="bilinear", antialias=True)[0]
