"""From EAST's maps to words: :func:`decode_east`."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from .._core import check_float, check_option, check_positive, to_compute
from ..geometry import DistanceOrder, reorder_edges, rotated_corners, rotated_from_edges
from ..types import TextDetections
from ._components import connected_components
from ._words import pad_words
from .locality_aware_nms import locality_aware_nms

Merge = Literal["exact", "components"]


class _Candidates(NamedTuple):
    """Cells above the threshold, image by image and row by row; on the host."""

    images: Tensor
    quads: Tensor
    scores: Tensor
    components: Tensor | None


@torch.no_grad()
def decode_east(
    score_logits: Tensor,
    geometry: Tensor,
    *,
    stride: int = 4,
    distance_order: DistanceOrder = "trbl",
    score_threshold: float = 0.8,
    nms_threshold: float = 0.2,
    merge: Merge = "exact",
    max_candidates: int = 20_000,
    max_detections: int | None = None,
) -> TextDetections:
    """Turn the outputs that :class:`~matchloss.criteria.EASTCriterion` trains into words.

        corner = (s j, s i) + R(angle) edge   of RBOX maps;   corner = (s j, s i) + offset   of QUAD maps

    for each cell (i, j) whose score is above the threshold; :func:`locality_aware_nms` makes words of these.

    Shapes:
        score_logits: (B, 1, h, w).
        geometry: (B, 5, h, w) distances to the edges, in pixels of the image, and the angle, counter-clockwise on the
            screen; or (B, 8, h, w), x and y offsets to the four corners. A cell that is not finite, or whose distances
            make no box, gives no candidate.
        returns: TextDetections in pixels of the image, the best first; the score is the mean of the merged cells'.

    Args:
        stride: pixels between two cells; cell (i, j) stands for the point (stride j, stride i).
        distance_order: "trbl", as the paper, or "tblr".
        score_threshold: cells must score more than this.
        nms_threshold: IoU above which two boxes are one word.
        merge: "exact", the paper's scan, or "components", which merges within connected cells: words side by side are
            then averaged whole, while each of their rows is merged by itself in the scan.
        max_candidates: how many cells of an image, those with the best scores, are looked at; bounds the time an
            untrained network takes.
        max_detections: how many words of an image are kept at most; None for all.

    Raises:
        ValueError: shapes that do not fit, an unknown option, a number that is not positive.

    Reference:
        Zhou et al. 2017, arXiv:1704.03155, sections 3.3 and 3.6.

    Differs:
        The common code takes rows of Python for what is one closed form, rounds the corners to whole pixels, and drops
        boxes that leave the image. The maps are taken to the host, once.

    Example:
        One cell at x = 4, y = 4, two pixels from the top and bottom edge, four and eight from the sides:

        >>> logits = torch.full((1, 1, 2, 2), -9.0)
        >>> logits[0, 0, 1, 1] = 9.0
        >>> edges = torch.tensor([2.0, 8.0, 2.0, 4.0, 0.0]).view(1, 5, 1, 1).expand(1, 5, 2, 2)
        >>> decode_east(logits, edges).quads[0, 0]
        tensor([[ 0.,  2.],
                [12.,  2.],
                [12.,  6.],
                [ 0.,  6.]])
    """
    _check("decode_east", score_logits, geometry, distance_order)
    check_option("decode_east", "merge", merge, ("exact", "components"))
    for name, number in {"stride": stride, "max_candidates": max_candidates, "max_detections": max_detections}.items():
        if number is not None:
            check_positive("decode_east", name, number)
    scores = to_compute(score_logits).sigmoid().cpu().squeeze(1)
    maps = to_compute(geometry).cpu()
    above = scores > score_threshold
    components = connected_components(above) if merge == "components" else None
    above = _best(scores, above, max_candidates)
    found = _candidates(scores, maps, above, components, stride, distance_order)
    words = []
    for image in range(len(scores)):
        here = found.images == image
        mine = None if found.components is None else found.components[here]
        words.append(
            locality_aware_nms(found.quads[here], found.scores[here], threshold=nms_threshold, components=mine)
        )
    return pad_words(words, score_logits, max_detections)


def _check(caller: str, score_logits: Tensor, geometry: Tensor, distance_order: str) -> None:
    check_float(caller, "score_logits", score_logits)
    check_float(caller, "geometry", geometry)
    check_option(caller, "distance_order", distance_order, ("trbl", "tblr"))
    batch, *size = (*score_logits.shape[:1], *score_logits.shape[2:])
    shapes = [(batch, channels, *size) for channels in (5, 8)]
    if score_logits.ndim != 4 or score_logits.shape[1] != 1 or geometry.shape not in shapes:
        got = f"{tuple(score_logits.shape)} and {tuple(geometry.shape)}"
        raise ValueError(f"{caller}: expected score_logits (B, 1, h, w) and geometry (B, 5 or 8, h, w), got {got}")


def _best(scores: Tensor, above: Tensor, most: int) -> Tensor:
    """``(B, h, w)``: of each image those of ``above`` with the best scores, the first of equals."""
    if not (above.flatten(1).sum(1) > most).any():
        return above
    ranked = torch.where(above, scores, -1.0).flatten(1).sort(dim=1, descending=True, stable=True).indices
    among = torch.zeros_like(above).flatten(1).scatter(1, ranked[:, :most], True)
    return above & among.view_as(above)


def _candidates(
    scores: Tensor, maps: Tensor, above: Tensor, components: Tensor | None, stride: int, order: DistanceOrder
) -> _Candidates:
    """One closed form for all cells of all images."""
    images, rows, columns = above.nonzero(as_tuple=True)
    values = maps.permute(0, 2, 3, 1)[images, rows, columns]
    points = stride * torch.stack([columns, rows], -1).to(values.dtype)
    if values.shape[1] == 8:
        quads = points.unsqueeze(1) + values.view(-1, 4, 2)
    else:
        boxes = rotated_from_edges(points, reorder_edges(values[:, :4], order, "trbl"), values[:, 4])
        quads = rotated_corners(boxes)
        # Two negative sides would make a box again: take its area away, and it is left out.
        quads = torch.where((boxes[:, 2:4] > 0).all(1)[:, None, None], quads, 0.0)
    chosen = None if components is None else components[images, rows, columns]
    return _Candidates(images, quads, scores[images, rows, columns], chosen)
