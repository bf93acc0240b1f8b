"""Merging of the many boxes that a dense head gives for one word: :func:`locality_aware_nms`."""

import torch
from torch import Tensor

from .._core import check_float, check_positive, has_numba, to_compute, use_fast_path
from ..geometry import clockwise, crosses_itself, quad_area, quad_iou

FLAT = 1e-6
"""Area over the square of the extent, up to which a quad is a line."""
Merged = tuple[Tensor, Tensor, Tensor]
"""Quads ``(m, 4, 2)``, the sums of their scores ``(m,)``, and of how many each is ``(m,)``; float64."""


@torch.no_grad()
def locality_aware_nms(
    quads: Tensor,
    scores: Tensor,
    *,
    threshold: float = 0.2,
    nms_threshold: float | None = None,
    components: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Average neighbouring quads of one image by their scores, then keep the best of those that overlap.

        q ← (V(q) q + s(p) p) / (V(q) + s(p)),   V(q) ← V(q) + s(p)   if IoU(p, q) > threshold
        q = p,   V(q) = s(p)   of a new q   otherwise

    p runs through the candidates in the order given, row by row, and q is the last of the merged. After that, by the
    greatest V, those are kept that overlap with no kept one by more than ``nms_threshold``. Each pixel of a word gives
    a candidate; their mean is steadier than the best of them, and one pass over thousands leaves dozens.

    Shapes:
        quads: (N, 4, 2) corners, in the order in which the map was scanned.
        scores: (N,) probabilities. A candidate is left out that is not finite, crosses itself or has no area, or whose
            score is not above 0.
        returns: quads (K, 4, 2) clockwise on the screen, scores (K,) in [0, 1], the best first; on the device of the
            quads, float32 (float64 for float64).

    Args:
        threshold: IoU above which a candidate is merged.
        nms_threshold: largest IoU of two quads that stay; None for the same.
        components: (N,) integers >= 0. Candidates are then merged with that quad of their component, among all, with
            which they overlap most, and never with one of another component; None for the algorithm of the paper.

    Raises:
        ValueError: shapes that do not fit, negative components, a threshold below 0.

    Reference:
        Zhou et al. 2017, arXiv:1704.03155, section 3.6, algorithm 1.

    Differs:
        The paper's score is the sum V, which is no confidence: V decides what is kept, and the mean score of the merged
        is returned. Corners are averaged in that cyclic order in which the two quads are closest; the authors' code and
        its copies average the first with the first, so that one rectangle, written from two corners, becomes a diamond
        of half the area. A word then has the corner order of its first candidate. The overlap is exact for every quad
        that does not cross itself. The candidates are taken to the host, as the scan is one after the other. Numba does
        it where it is installed; without, it takes some milliseconds a candidate.

    Example:
        Twice the same rectangle, from another corner, and one beside it:

        >>> box = torch.tensor([[0.0, 0.0], [8.0, 0.0], [8.0, 2.0], [0.0, 2.0]])
        >>> candidates = torch.stack([box, box.roll(1, 0), box + 8])
        >>> quads, scores = locality_aware_nms(candidates, torch.tensor([0.9, 0.7, 0.6]))
        >>> quads[:, 0], scores
        (tensor([[0., 0.],
                [8., 8.]]), tensor([0.8000, 0.6000]))
    """
    _check("locality_aware_nms", quads, scores, threshold, nms_threshold, components)
    device, dtype = quads.device, to_compute(quads[:0]).dtype
    quads, scores = quads.cpu().double(), scores.cpu().double()
    groups = None if components is None else components.cpu().long()
    merge, suppress = (_merge_fast, _suppress_fast) if use_fast_path() and has_numba() else (_merge, _suppress)
    merged, sums, members = merge(quads, scores, groups, threshold)
    order = sums.argsort(descending=True, stable=True)
    kept = order[suppress(merged[order], threshold if nms_threshold is None else nms_threshold)]
    means = (sums[kept] / members[kept]).clamp(max=1)  # rounding
    best = means.argsort(descending=True, stable=True)
    return merged[kept[best]].to(device, dtype), means[best].to(device, dtype)


def _check(
    caller: str, quads: Tensor, scores: Tensor, threshold: float, nms_threshold: float | None, components: Tensor | None
) -> None:
    check_float(caller, "quads", quads)
    check_float(caller, "scores", scores)
    check_positive(caller, "threshold", threshold, or_zero=True)
    if nms_threshold is not None:
        check_positive(caller, "nms_threshold", nms_threshold, or_zero=True)
    if scores.ndim != 1 or quads.shape != (*scores.shape, 4, 2):
        got = f"{tuple(quads.shape)} and {tuple(scores.shape)}"
        raise ValueError(f"{caller}: expected quads (N, 4, 2) and scores (N,), got {got}")
    if components is not None:
        if components.shape != scores.shape or components.is_floating_point():
            got = f"{tuple(components.shape)} of {components.dtype} for {tuple(scores.shape)}"
            raise ValueError(f"{caller}: expected integer components of the scores' shape, got {got}")
        if (components < 0).any():
            raise ValueError(f"{caller}: expected components >= 0, got {int(components.min())}")


def _merge_fast(quads: Tensor, scores: Tensor, groups: Tensor | None, threshold: float) -> Merged:
    from ..kernels.locality_aware_nms_cpu import merge_in_order

    numbers = None if groups is None else groups.contiguous().numpy()
    arrays = quads.contiguous().numpy(), scores.contiguous().numpy(), numbers
    merged, sums, members = merge_in_order(*arrays, threshold=threshold, flat=FLAT)
    return torch.from_numpy(merged), torch.from_numpy(sums), torch.from_numpy(members)


def _suppress_fast(quads: Tensor, threshold: float) -> Tensor:
    from ..kernels.locality_aware_nms_cpu import suppress

    return torch.from_numpy(suppress(quads.numpy(), threshold))


def _merge(quads: Tensor, scores: Tensor, groups: Tensor | None, threshold: float) -> Merged:
    """The scan, candidate by candidate."""
    usable = _usable(quads, scores)
    quads, scores, groups = clockwise(quads[usable]), scores[usable], None if groups is None else groups[usable]
    merged, sums, members = torch.empty_like(quads), scores.new_zeros(len(scores)), scores.new_zeros(len(scores))
    numbers = [0] * len(scores) if groups is None else groups.tolist()
    of_group: dict[int, list[int]] = {}
    count = 0
    for quad, score, number in zip(quads, scores, numbers, strict=True):
        known = of_group.setdefault(number, [])
        rivals = known[-1:] if groups is None else known
        overlaps = quad_iou(merged[rivals], quad)
        if rivals and bool(overlaps.max() > threshold):
            best = rivals[int(overlaps.argmax())]
            turned = _turned_like(merged[best], quad)
            merged[best] = (sums[best] * merged[best] + score * turned) / (sums[best] + score)
        else:
            best = count
            known.append(best)
            merged[best] = quad
            count += 1
        sums[best] += score
        members[best] += 1
    return merged[:count], sums[:count], members[:count]


def _usable(quads: Tensor, scores: Tensor) -> Tensor:
    """``(N,)``: finite, with an area, not crossing itself, with a score above 0."""
    area, extents = quad_area(quads).abs(), quads.amax(1) - quads.amin(1)
    finite = quads.isfinite().flatten(1).all(1) & scores.isfinite() & area.isfinite()
    return finite & (scores > 0) & (area > FLAT * extents.amax(1).square()) & ~crosses_itself(quads)


def _turned_like(quad: Tensor, other: Tensor) -> Tensor:
    """The other quad from that corner on from which its corners are closest to those of the first."""
    turns = torch.stack([other.roll(-shift, 0) for shift in range(4)])
    return turns[(turns - quad).square().sum((1, 2)).argmin()]


def _suppress(quads: Tensor, threshold: float) -> Tensor:
    """``(m,)``: which quads, the best first, are kept."""
    kept: list[int] = []
    for index, quad in enumerate(quads):
        if not bool((quad_iou(quads[kept], quad) > threshold).any()):
            kept.append(index)
    mask = torch.zeros(len(quads), dtype=torch.bool)
    mask[kept] = True
    return mask
