"""The protocol of ICDAR 2015: equal to the script written out, on words of any shape, and its rules one by one."""

from dataclasses import asdict

import numpy as np
import pytest
import shapely
import torch
from hypothesis import given, settings, strategies as st

from matchloss.evaluation import evaluate_icdar
from matchloss.geometry import filled_area, quad_intersection, quad_iou
from reference import icdar as ref

BOX = np.array([[0.0, 0.0], [40.0, 0.0], [40.0, 10.0], [0.0, 10.0]])
CROSSED = BOX[[0, 2, 1, 3]]


def any_quads(rng: np.random.Generator, count: int) -> np.ndarray:
    """Convex, concave, crossing, of either winding, some on whole numbers so that sides coincide."""
    quads = rng.uniform(0, 12, (count, 4, 2)) + rng.uniform(-6, 6, (count, 1, 2))
    whole = rng.random(count) < 0.5
    quads[whole] = np.round(quads[whole] / 3) * 3
    return quads


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), far=st.sampled_from([0.0, 1e5]))
def test_overlaps_of_any_quads_equal_shapely(seed: int, far: float) -> None:
    rng = np.random.default_rng(seed)
    quads, other = any_quads(rng, 40) + far, any_quads(rng, 40) + far
    first, second = (shapely.make_valid(shapely.polygons(these)) for these in (quads, other))
    # A line that a quad of whole numbers may be has a hull without area, and shapely says no more of it.
    shared = shapely.area(shapely.intersection(first, second))
    quads, other = torch.from_numpy(quads), torch.from_numpy(other)
    np.testing.assert_allclose(quad_intersection(quads, other), shared, atol=1e-9 * max(1, far / 10))
    np.testing.assert_allclose(filled_area(quads), shapely.area(first), atol=1e-9 * max(1, far / 10))
    union = shapely.area(first) + shapely.area(second) - shared
    wanted = np.where(union > 0, shared / np.where(union > 0, union, 1), 0)
    np.testing.assert_allclose(quad_iou(quads, other), wanted, atol=1e-9 * max(1, far / 10))
    assert torch.equal(quad_iou(quads[:3, None], other[:2]).diagonal(), quad_iou(quads[:2], other[:2]))


def photos(seed: int, count: int = 4) -> tuple[list, list]:
    """Words, some unreadable, and what was found near them: several for one word, none, or something else."""
    rng = np.random.default_rng(seed)
    detections, truths = [], []
    for _ in range(count):
        number = int(rng.integers(0, 8))
        corner = rng.uniform(0, 90, (number, 1, 2))
        real = corner + BOX * rng.uniform(0.5, 1.5, (number, 1, 2)) + rng.uniform(-3, 3, (number, 4, 2))
        odd = rng.random(number) < 0.1
        real[odd] = real[odd][:, [0, 2, 1, 3]]
        real[rng.random(number) < 0.1, 2] = real[:, 0][:0].sum(0) if not number else real[0, 1]
        copies = real[rng.integers(0, number, int(rng.integers(0, 12)))] if number else real
        found = copies + rng.uniform(-4, 4, (len(copies), 1, 2)) + rng.uniform(-2, 2, copies.shape)
        found = np.concatenate([found, any_quads(rng, int(rng.integers(0, 4)))])
        scores = np.round(rng.random(len(found)), 2)
        detections.append((found, scores))
        truths.append((real, rng.random(number) < 0.3))
    return detections, truths


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    iou_threshold=st.sampled_from([0.3, 0.5, 0.7]),
    ignore_threshold=st.sampled_from([0.2, 0.5]),
    truncate=st.booleans(),
)
def test_equals_the_script_written_out(
    seed: int, iou_threshold: float, ignore_threshold: float, truncate: bool
) -> None:
    detections, truths = photos(seed)
    options = {"iou_threshold": iou_threshold, "ignore_threshold": ignore_threshold, "truncate": truncate}
    scores, wanted = asdict(evaluate_icdar(detections, truths, **options)), ref.evaluate(detections, truths, **options)
    assert scores.pop("average_precision") == pytest.approx(wanted.pop("average_precision"), rel=1e-12)
    assert scores == {**wanted, "images": tuple(wanted["images"])}


def one(found, real, ignore=None, **options):
    """Scores of one image."""
    real = np.array(real).reshape(-1, 4, 2)
    ignore = np.zeros(len(real), bool) if ignore is None else np.array(ignore)
    return evaluate_icdar([(np.array(found).reshape(-1, 4, 2), None)], [(real, ignore)], **options)


def test_an_iou_of_the_threshold_is_no_match() -> None:
    half = BOX * [0.5, 1]
    assert one([half], [BOX]).matched == 0
    assert one([half + np.array([[0, 0], [1, 0], [1, 0], [0, 0]])], [BOX]).matched == 1
    for shift in range(1, 2000, 137):  # wherever it lies
        assert one([half + shift], [BOX + shift]).matched == 0


def test_half_in_an_unreadable_word_still_counts() -> None:
    beside = BOX + np.array([20, 0])
    assert one([beside], [BOX], [True]).detections == 1
    assert one([beside - [1, 0]], [BOX], [True]).detections == 0
    assert one([beside], [BOX], [True], ignore_threshold=0.4).detections == 0
    # Two halves in two unreadable words are not more than half in one.
    assert one([beside], [BOX, BOX + np.array([40, 0])], [True, True]).detections == 1


def test_the_first_that_is_near_enough_is_taken_not_the_best() -> None:
    scores = one([BOX + np.array([6, 0]), BOX], [BOX, BOX + np.array([14, 0])])
    assert scores.matched == 1, "the first word takes what the second needed"
    assert one([BOX, BOX + np.array([6, 0])], [BOX, BOX + np.array([14, 0])]).matched == 2
    assert one([BOX, BOX], [BOX]) == one([BOX], [BOX]).__class__(
        precision=0.5, recall=1.0, hmean=2 / 3, average_precision=None, matched=1, detections=2, truths=1,
        images=((1, 2, 1),),
    )  # fmt: skip


def test_an_unreadable_word_takes_no_detection() -> None:
    """Its double in the readable list gets it, unless it lies in the unreadable one."""
    scores = one([BOX], [BOX, BOX], [True, False])
    assert (scores.matched, scores.detections, scores.truths, scores.recall, scores.precision) == (0, 0, 1, 0.0, 0.0)


def test_fractions_are_cut_off_towards_zero() -> None:
    real = BOX * [0.5, 1]
    found = BOX + np.array([[-0.9, -0.9], [0.9, 0], [0.9, 0.9], [-0.9, 0.9]])
    assert one([found], [BOX], iou_threshold=0.999).matched == 1
    assert one([found], [BOX], iou_threshold=0.999, truncate=False).matched == 0
    above = BOX - [[0.9, 0.9], [0, 0.9], [0, 0], [0.9, 0]]
    assert one([above], [BOX], iou_threshold=0.999).matched == 1, "-0.9 is 0, not -1"
    assert one([real], [real], iou_threshold=0.999, truncate=False).matched == 1


def test_images_without_words() -> None:
    nothing = np.zeros((0, 4, 2))
    empty = one(nothing, nothing)
    assert (empty.precision, empty.recall, empty.hmean, empty.average_precision) == (0, 0, 0, None)
    assert one([BOX], nothing).detections == 1
    assert one(nothing, [BOX], [False]).truths == 1
    assert evaluate_icdar([], []).images == ()
    assert evaluate_icdar([(nothing, np.zeros(0))], [(nothing, np.zeros(0, bool))]).average_precision == 0
    # An image without words adds its detections to the sum, and nothing else.
    both = evaluate_icdar([([BOX], None), ([BOX], None)], [([BOX], [False]), (nothing, [])])
    assert (both.precision, both.recall) == (0.5, 1.0)


def test_odd_shapes() -> None:
    """Either winding, the wrong order of corners, a concave word, one without area."""
    concave = BOX.copy()
    concave[1] = [25, 8]
    assert one([BOX[::-1]], [BOX]).matched == 1
    assert one([CROSSED], [CROSSED]).matched == 1
    assert one([CROSSED], [BOX]).matched == 0, "it fills half of the box"
    assert one([concave], [concave]).matched == 1
    line = BOX * [1, 0]
    flat = one([line], [BOX, line])
    assert (flat.matched, flat.detections, flat.truths) == (0, 1, 2)


def test_average_precision_rewards_the_order_of_scores() -> None:
    real = np.stack([BOX, BOX + 100, BOX + 200])
    found = np.stack([BOX, BOX + 50, BOX + 100])
    pairs = [(real, np.zeros(3, bool))]
    for scores, wanted in (
        ([0.9, 0.1, 0.8], 2 / 3),
        ([0.1, 0.9, 0.8], (1 / 2 + 2 / 3) / 3),
        ([0.5] * 3, (1 + 2 / 3) / 3),
    ):
        got = evaluate_icdar([(found, np.array(scores))], pairs)
        assert got.average_precision == pytest.approx(wanted)
        assert got.hmean == pytest.approx(2 / 3)


def test_tensors_are_arrays() -> None:
    detections, truths = photos(3)
    as_tensors = evaluate_icdar(
        [(torch.from_numpy(quads), torch.from_numpy(scores)) for quads, scores in detections],
        [(torch.from_numpy(quads), torch.from_numpy(ignore)) for quads, ignore in truths],
    )
    assert as_tensors == evaluate_icdar(detections, truths)


def test_wrong_inputs_are_named() -> None:
    words = [([BOX], [False])]
    with pytest.raises(ValueError, match="as many images of detections as of truths, got 2 and 1"):
        evaluate_icdar([([BOX], None)] * 2, words)
    with pytest.raises(ValueError, match=r"expected detections\[0\] with quads \(n, 4, 2\), got \(1, 8\)"):
        evaluate_icdar([(BOX.reshape(1, 8), None)], words)
    with pytest.raises(ValueError, match=r"expected truths\[0\] with one value a quad, got \(2,\) for 1"):
        evaluate_icdar([([BOX], None)], [([BOX], [False, True])])
    with pytest.raises(ValueError, match=r"expected detections\[0\] with finite quads"):
        evaluate_icdar([([BOX * np.nan], None)], words)
    with pytest.raises(ValueError, match="expected iou_threshold >= 0, got -1"):
        evaluate_icdar([([BOX], None)], words, iou_threshold=-1)
