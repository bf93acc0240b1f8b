"""Target maps of scene text timed, beside the loop over pixels that argman's EAST and its ports draw theirs with."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

import matchloss
from bench_matching import Timed
from bench_measure import Loss
from matchloss.encoders import DBTargetEncoder, EASTTargetEncoder
from matchloss.encoders._shrink import shrink_quads
from matchloss.geometry import enclosing_rectangles, rotated_corners

SCENES = ((5, (60, 110), (512, 512)), (20, (25, 50), (512, 512)), (60, (10, 18), (512, 512)))
STREET = (200, (10, 30), (720, 1280))


def text_maps(device: str, generator: torch.Generator, *, quick: bool) -> Iterator[Timed]:
    """Few large words to many small ones in one image, as a loader draws them."""
    for count, heights, size in ((3, (10, 20), (64, 96)),) if quick else (*SCENES, STREET):
        quads = _words(count, heights, size, generator).to(device)
        ignore = torch.zeros(count, dtype=torch.bool, device=device)
        yield _east(quads, ignore, size)
        yield _db(quads, ignore, size)


def _east(quads: Tensor, ignore: Tensor, size: tuple[int, int]) -> Timed:
    """The value is the sum of the distances; the loop's words overwrite each other, so its own differs."""
    leaf = torch.zeros(1, device=quads.device, requires_grad=True)
    encoder = EASTTargetEncoder.argman()

    def ours() -> Tensor:
        return encoder([quads], [ignore], size).geometry.sum() + leaf.sum()

    def plain() -> Tensor:
        with matchloss.reference():
            return ours()

    host = quads.cpu()

    def loop() -> Tensor:
        return torch.from_numpy(loop_over_pixels(host, size)).sum() + leaf.sum()

    variants: dict[str, Loss] = {"matchloss": ours, "matchloss, plain torch": plain, "loop over pixels": loop}
    return Timed(f"EAST maps {list(size)}, {len(quads)} words", leaf, variants, [("loop over pixels", 50.0)])


def _db(quads: Tensor, ignore: Tensor, size: tuple[int, int]) -> Timed:
    """The value is the sum of the thresholds."""
    leaf = torch.zeros(1, device=quads.device, requires_grad=True)
    encoder = DBTargetEncoder()

    def ours() -> Tensor:
        return encoder([quads], [ignore], size).threshold.sum() + leaf.sum()

    def plain() -> Tensor:
        with matchloss.reference():
            return ours()

    variants: dict[str, Loss] = {"matchloss": ours, "matchloss, plain torch": plain}
    return Timed(f"DB maps {list(size)}, {len(quads)} words", leaf, variants, [])


def loop_over_pixels(quads: Tensor, size: tuple[int, int]) -> np.ndarray:
    """``(h, w, 5)``: at full size, pixel by pixel the distances to four lines; then each fourth pixel.

    Shrinking and rectangles are ours, in one go, and so is the filling, by arrays: the loop is what takes long.
    """
    inner = shrink_quads(quads, shrink=0.3).numpy().astype(np.float64)
    boxes = enclosing_rectangles(quads)
    rectangles, angles = rotated_corners(boxes).numpy().astype(np.float64), boxes[:, 4].tolist()
    geometry = np.zeros((*size, 5), dtype=np.float32)
    for word, rectangle, angle in zip(inner, rectangles, angles, strict=True):
        for y, x in _pixels(word, size):
            for k in range(4):
                geometry[y, x, k] = _distance_to_line(rectangle[k], rectangle[(k + 1) % 4], np.array([x, y]))
            geometry[y, x, 4] = -angle
    return geometry[::4, ::4]


def _pixels(quad: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """``(n, 2)``: y and x of the pixels of the image in a quad."""
    low = np.floor(quad.min(0)).clip(0).astype(int)
    high = np.minimum(np.ceil(quad.max(0)).astype(int) + 1, size[::-1]).clip(0)
    y, x = np.mgrid[low[1] : high[1], low[0] : high[0]]
    edge, inside = np.roll(quad, -1, 0) - quad, np.ones(y.shape, dtype=bool)
    for (from_x, from_y), (along_x, along_y) in zip(quad, edge, strict=True):
        inside &= along_x * (y - from_y) - along_y * (x - from_x) >= 0
    return np.argwhere(inside) + low[::-1]


def _distance_to_line(start: np.ndarray, end: np.ndarray, point: np.ndarray) -> float:
    edge, arm = end - start, start - point
    return float(np.abs(edge[0] * arm[1] - edge[1] * arm[0]) / np.linalg.norm(edge))


def _words(count: int, heights: tuple[int, int], size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """``(count, 4, 2)`` two to six times as long as high, up to 30 degrees to either side, a little shaken."""

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    height = heights[0] + (heights[1] - heights[0]) * rand(count, 1)
    width, angle = height * (2 + 4 * rand(count, 1)), (rand(count, 1) - 0.5) * math.pi / 3
    x, y = torch.tensor([-0.5, 0.5, 0.5, -0.5]) * width, torch.tensor([-0.5, -0.5, 0.5, 0.5]) * height
    turned = torch.stack([x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos()], -1)
    return turned + rand(count, 1, 2) * torch.tensor([size[1], size[0]]) + 2 * (rand(count, 4, 2) - 0.5)
