"""Training augmentation of an image with its label map, and the normalisation that inference shares with it."""

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from matchloss.recipes.data.masks import IGNORE_INDEX, Sample


def normalize(image: Tensor) -> Tensor:
    """Standardise an image (3, H, W), or each of a batch, by its own mean and deviation; uint8 in, float32 out.

    By its own, since microscopes differ: in one folder the mean grey runs from 4 (fluorescence) to 208 (stained
    tissue). Over the three channels together, since their differences are the stain. Only uint8 is taken, so that
    nothing is normalised twice.
    """
    mean, deviation = _measure(image)
    return (image.float() - mean) / deviation


def augment(
    sample: Sample,
    rng: np.random.Generator,
    *,
    size: int,
    scale: tuple[float, float] = (0.75, 1.33),
    turn: bool = True,
    color: float = 1.0,
    invert: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """A random crop, ready for the network: float32 (3, size, size), already normalised, and int64 (size, size).

    A pure function of the sample and the generator's state; it draws the same count of numbers whatever the options.
    The image is standardised by the statistics of the whole image, not of the crop, as at inference: an empty crop
    must stay flat, not become loud noise.

    Args:
        sample: image, labels and name, as `SegmentationFolder` gives them; left as they are.
        rng: the only source of randomness.
        size: height and width of the crop.
        scale: range of the zoom, drawn log-uniformly.
        turn: flips and quarter turns; False where up is up, as in street scenes.
        color: strength of the jitter of gamma, contrast, brightness and channels; 0 turns it off.
        invert: chance of swapping dark and bright; mostly harmful, as objects are darker or brighter for a reason.
    """
    mean, deviation = _measure(sample.image)
    zoom = math.exp(rng.uniform(math.log(scale[0]), math.log(scale[1])))
    place, quarter, mirror, chance = rng.random(2), int(rng.integers(4)), bool(rng.integers(2)), rng.random(2)
    jitter = color * rng.uniform(-1.0, 1.0, 6)

    image, labels = _crop(sample, max(1, round(size / zoom)), place)
    image, labels = _resize(image, labels, size)
    if turn:  # four turns and one mirror give all eight symmetries, the vertical flip among them
        image, labels = image.rot90(quarter, (1, 2)), labels.rot90(quarter, (0, 1))
        if mirror:
            image, labels = image.flip(2), labels.flip(1)
    image = (bend_grey(image, sample.image, jitter[0]) - mean) / deviation
    image = jitter_color(image, jitter[1:], grey=bool(chance[0] < 0.1 * color))
    if chance[1] < invert:
        image = -image
    return image.contiguous(), labels.contiguous()


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Reflect (..., H, W) at the right and bottom edge up to a multiple; cut the output back with `[..., :H, :W]`."""
    height, width = image.shape[-2:]
    rows, columns = (_reflect(0, -(-length // multiple) * multiple, length) for length in (height, width))
    return image[..., rows, :][..., columns]


def _measure(image: Tensor) -> tuple[Tensor, Tensor]:
    if image.dtype != torch.uint8 or image.ndim < 3:
        raise ValueError(f"normalize: image must be uint8 (..., 3, H, W), got {image.dtype} {tuple(image.shape)}")
    deviation, mean = torch.std_mean(image.float(), dim=(-3, -2, -1), correction=0, keepdim=True)
    return mean, deviation.clamp_min(1.0)  # below one grey level there is nothing but rounding noise to enlarge


def _reflect(start: int, length: int, count: int) -> Tensor:
    """Indices start .. start + length - 1, folded back into 0 .. count - 1 as often as it takes."""
    period = max(1, 2 * (count - 1))
    index = torch.arange(start, start + length) % period
    return torch.minimum(index, period - index)


def _crop(sample: Sample, size: int, place: npt.NDArray[np.float64]) -> tuple[Tensor, Tensor]:
    """Cut a square at a random place; what lies outside is a reflection in the image and ignored in the labels.

    Reflected pixels are copies. With labels they would count twice, and a nucleus cut by the border would be taught
    as a symmetric blob that exists nowhere.
    """
    image, labels = sample.image, sample.labels
    for axis, count in enumerate(labels.shape):
        low, high = min(0, count - size), max(0, count - size)
        start = low + int(place[axis] * (high - low + 1))
        index = _reflect(start, size, count)
        image, labels = image.index_select(axis + 1, index), labels.index_select(axis, index)
        position = torch.arange(start, start + size)
        outside = (position < 0) | (position >= count)
        labels.index_fill_(axis, outside.nonzero().flatten(), IGNORE_INDEX)  # index_select made it a copy
    return image, labels


def _resize(image: Tensor, labels: Tensor, size: int) -> tuple[Tensor, Tensor]:
    shape = (size, size)
    image = F.interpolate(image.float()[None], shape, mode="bilinear", align_corners=False)[0]
    # "nearest-exact" has the same pixel centres as bilinear; plain "nearest" would shift labels by up to half a pixel.
    # float64 holds every class index exactly.
    labels = F.interpolate(labels.double()[None, None], shape, mode="nearest-exact")[0, 0].long()
    return image, labels


def bend_grey(image: Tensor, whole: Tensor, amount: float) -> Tensor:
    """Bend the grey curve between the darkest and the brightest value of the whole image, which stay fixed."""
    low = whole.amin().float()
    span = (whole.amax().float() - low).clamp_min(1.0)
    # clamp: bilinear rounding may fall a hair below 0, and a power of that is NaN
    return low + span * ((image - low) / span).clamp(0.0, 1.0) ** math.exp(0.3 * amount)


def jitter_color(image: Tensor, amount: npt.NDArray[np.float64], *, grey: bool) -> Tensor:
    """Contrast, brightness, channels; after the standardisation, which would undo the first two."""
    if grey:
        image = image.mean(0, keepdim=True).expand(3, -1, -1)
    gain = torch.from_numpy(np.exp(0.2 * amount[0] + 0.1 * amount[2:])).float()
    return image * gain[:, None, None] + float(0.2 * amount[1])
