"""EAST's decoding timed: maps to words, and the merging alone, beside the common Python code and the authors' C++."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

import matchloss
from bench_matching import Timed
from bench_measure import Loss
from bench_peers import peer
from matchloss.encoders import EASTTargetEncoder
from matchloss.postprocess import decode_east, locality_aware_nms

THRESHOLD = 0.2


def text_nms(device: str, generator: torch.Generator, *, quick: bool) -> Iterator[Timed]:
    """At the sizes of a photo of 720p with few and with many words."""
    for words in (2,) if quick else (10, 40):
        yield _decoding(words, device, generator)
    for words in (2,) if quick else (10, 40, 120):
        yield _merging(words, device, generator)


def _decoding(words: int, device: str, generator: torch.Generator) -> Timed:
    """Words of 110 by 32 pixels; the encoder's maps with the noise of a trained network."""
    word = torch.tensor([[0.0, 0.0], [110.0, 6.0], [108.0, 38.0], [-2.0, 32.0]])
    corner = torch.stack([20 + 150.0 * (torch.arange(words) % 8), 10 + 130.0 * (torch.arange(words) // 8)], -1)
    maps = EASTTargetEncoder()([word + corner[:, None]], [torch.zeros(words, dtype=torch.bool)], (720, 1280))
    noise = torch.tensor([1.5, 1.5, 1.5, 1.5, 0.02]).view(5, 1, 1) * torch.randn(
        maps.geometry.shape, generator=generator
    )
    logits, geometry = (18 * maps.score - 9).to(device), (maps.geometry + noise).to(device)
    leaf = torch.zeros(1, device=device, requires_grad=True)
    variants: dict[str, Loss] = {
        "matchloss": lambda: decode_east(logits, geometry).quads.sum() + leaf.sum(),
        "matchloss, components": lambda: decode_east(logits, geometry, merge="components").quads.sum() + leaf.sum(),
    }
    return Timed(f"EAST decoding {list(logits.shape)}, {int(maps.score.sum())} candidates", leaf, variants, [])


def _merging(words: int, device: str, generator: torch.Generator) -> Timed:
    """54 candidates a word, in runs, as a scan of words one after the other meets them."""
    quads, scores = _candidates(words, generator)
    on_device = quads.to(device), scores.to(device)
    components = torch.arange(words, device=device).repeat_interleave(54)
    leaf = torch.zeros(1, device=device, requires_grad=True)

    def merged(groups: Tensor | None) -> Tensor:
        return locality_aware_nms(*on_device, threshold=THRESHOLD, components=groups)[0].sum() + leaf.sum()

    def plain() -> Tensor:
        with matchloss.reference():
            return merged(None)

    variants: dict[str, Loss] = {"matchloss": lambda: merged(None), "matchloss, components": lambda: merged(components)}
    if words < 10:
        variants["matchloss, plain torch"] = plain  # some milliseconds a candidate
    aims = []
    if peer("shapely.geometry", "Polygon"):
        rows = np.concatenate([quads.numpy().reshape(-1, 8), scores.numpy()[:, None]], 1)
        variants["Python and Shapely"] = lambda: torch.tensor(_in_python(rows)).sum() + leaf.sum()
        aims.append(("Python and Shapely", 30.0))
    if merge := peer("lanms", "merge_quadrangle_n9"):
        single = np.concatenate([quads.numpy().reshape(-1, 8), scores.numpy()[:, None]], 1, dtype=np.float32)
        variants["C++ (lanms)"] = lambda: torch.tensor(merge(single, THRESHOLD)[:, :8]).sum() + leaf.sum()
        aims.append(("C++ (lanms)", 1.0))
    return Timed(f"locality-aware NMS, {len(quads)} candidates", leaf, variants, aims)


def _candidates(words: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    word = torch.tensor([[0.0, 0.0], [60.0, 0.0], [60.0, 16.0], [0.0, 16.0]])
    corner = torch.stack([90.0 * (torch.arange(words) % 8), 30.0 * (torch.arange(words) // 8)], -1)
    quads = (word + corner[:, None]).repeat_interleave(54, 0)
    quads = quads + 1.5 * torch.randn(quads.shape, generator=generator)
    return quads, 0.8 + 0.2 * torch.rand(len(quads), generator=generator)


def _in_python(rows: np.ndarray) -> np.ndarray:
    """The algorithm as the Python ports write it: corner by corner, with polygons of Shapely."""
    from shapely.geometry import Polygon

    def iou(first: np.ndarray, second: np.ndarray) -> float:
        one, other = Polygon(first[:8].reshape(4, 2)), Polygon(second[:8].reshape(4, 2))
        shared = one.intersection(other).area
        return shared / (one.area + other.area - shared)

    merged: list[np.ndarray] = []
    for row in rows:
        if merged and iou(merged[-1], row) > THRESHOLD:
            last = merged[-1]
            last[:8] = (last[8] * last[:8] + row[8] * row[:8]) / (last[8] + row[8])
            last[8] += row[8]
        else:
            merged.append(row.copy())
    kept: list[np.ndarray] = []
    for one in sorted(merged, key=lambda row: -row[8]):
        if all(iou(other, one) <= THRESHOLD for other in kept):
            kept.append(one)
    return np.array([one[:8] for one in kept])
