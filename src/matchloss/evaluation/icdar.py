"""How well words are found, by the rules of ICDAR 2015: :func:`evaluate_icdar`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .._core import check_positive
from ._average_precision import average_precision
from ._word_pairs import Pairs, Words, read_words, touching_pairs

Quads = Tensor | NDArray[np.floating] | NDArray[np.integer]
Numbers = Tensor | NDArray[np.floating]
Flags = Tensor | NDArray[np.bool_]


class ImageCounts(NamedTuple):
    """What counts in one image."""

    matched: int
    detections: int
    truths: int


@dataclass(frozen=True)
class ICDARScores:
    """Scores over all images, with what they are made of; words that do not count are in none of the numbers."""

    precision: float
    recall: float
    hmean: float
    average_precision: float | None
    """None unless all images came with scores."""
    matched: int
    detections: int
    truths: int
    images: tuple[ImageCounts, ...]


def evaluate_icdar(
    detections: Sequence[tuple[Quads, Numbers | None]],
    truths: Sequence[tuple[Quads, Flags]],
    *,
    iou_threshold: float = 0.5,
    ignore_threshold: float = 0.5,
    truncate: bool = True,
) -> ICDARScores:
    """Precision, recall and their harmonic mean of found words, by the protocol of ICDAR 2015.

        precision = matched / detections,   recall = matched / truths,   hmean = 2 P R / (P + R)

    summed over all images first. A detection counts unless more than half of it lies in one unreadable word; a truth
    counts unless it is unreadable. Truth by truth, in the order given, the first detection is taken, also in the order
    given, that is still free and has an IoU above the threshold.

    Shapes:
        detections: an image's quads (K, 4, 2) in pixels of the photo and scores (K,) or None; a sequence over images.
        truths: an image's quads (M, 4, 2) and (M,) bool, True for a word that cannot be read ("###").
        returns: ICDARScores. No truth that counts gives a recall of 0, no detection a precision of 0.

    Args:
        iou_threshold: the IoU of a match is greater.
        ignore_threshold: a detection is left out of which a greater share lies in an unreadable word.
        truncate: cut the fractions of coordinates off, as the official script does.

    Raises:
        ValueError: sequences of different length, shapes that do not fit, coordinates that are not finite.

    Reference:
        Karatzas et al. 2015, ICDAR 2015 Competition on Robust Reading, challenge 4, and its evaluation script.

    Differs:
        The script stops at words that run counter-clockwise; here any winding counts. A word that crosses itself is
        what the even-odd rule fills. Equal scores keep their order in the average precision, which sums the precision
        at each match and divides by the truths, without interpolation. The counts are those of the script. mmocr
        reports the best of several score thresholds; here there is none.

    Example:
        One word found, one missed; what was found in the unreadable one does not count.

        >>> import numpy as np
        >>> word = np.array([[0, 0], [30, 0], [30, 10], [0, 10]])
        >>> words = np.stack([word, word + 100, word + 200])
        >>> scores = evaluate_icdar([(words[[0, 2]] + 1, None)], [(words, np.array([False, False, True]))])
        >>> scores.precision, scores.recall, scores.images
        (1.0, 0.5, (ImageCounts(matched=1, detections=1, truths=2),))
    """
    for name, number in {"iou_threshold": iou_threshold, "ignore_threshold": ignore_threshold}.items():
        check_positive("evaluate_icdar", name, number, or_zero=True)
    if len(detections) != len(truths):
        got = f"{len(detections)} and {len(truths)}"
        raise ValueError(f"evaluate_icdar: expected as many images of detections as of truths, got {got}")
    found = [read_words("evaluate_icdar", f"detections[{i}]", *image, truncate) for i, image in enumerate(detections)]
    real = [read_words("evaluate_icdar", f"truths[{i}]", *image, truncate) for i, image in enumerate(truths)]
    pairs = touching_pairs(found, real)
    counts, scores, hits = [], [], []
    for image, (words, truth) in enumerate(zip(found, real, strict=True)):
        cared, taken = _match(pairs.of_image(image), words, truth, iou_threshold, ignore_threshold)
        counts.append(ImageCounts(int(taken.sum()), int(cared.sum()), int((~_ignored(truth)).sum())))
        hits.append(taken[cared])
        if words.values is not None:
            scores.append(words.values[cared])
    return _scores(counts, scores, hits)


def _ignored(truth: Words) -> NDArray[np.bool_]:
    assert truth.values is not None
    return truth.values.astype(bool)


def _match(
    pairs: Pairs, words: Words, truth: Words, iou_threshold: float, ignore_threshold: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """``(K,)`` each: which detections of an image count, and which are matched."""
    ignored = _ignored(truth)
    cared = np.ones(len(words.quads), dtype=bool)
    cared[pairs.found[ignored[pairs.real] & (pairs.share > ignore_threshold)]] = False
    free, taken = ~ignored, np.zeros_like(cared)
    near = pairs.iou > iou_threshold
    for real, found in zip(pairs.real[near].tolist(), pairs.found[near].tolist(), strict=True):
        if free[real] and cared[found] and not taken[found]:
            free[real], taken[found] = False, True
    return cared, taken


def _scores(counts: list[ImageCounts], scores: list[NDArray[np.float64]], hits: list[NDArray[np.bool_]]) -> ICDARScores:
    matched, detections, truths = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0, 0)
    precision, recall = matched / max(detections, 1), matched / max(truths, 1)
    hmean = 2 * precision * recall / (precision + recall) if matched else 0.0
    precise = None
    if counts and len(scores) == len(counts):
        precise = average_precision(np.concatenate(scores), np.concatenate(hits), truths)
    return ICDARScores(precision, recall, hmean, precise, matched, detections, truths, tuple(counts))
