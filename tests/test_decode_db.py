"""Maps of shrunk words to words: the smallest rectangle, the offset, scores, batches."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from shapely.geometry import MultiPoint, Polygon
from torch import Tensor

from matchloss.postprocess import decode_db
from matchloss.postprocess._components import connected_components
from matchloss.postprocess._smallest_rectangle import smallest_rectangle
from reference.lanms import closest_corners, iou, is_same_set


def rectangle(cx: float, cy: float, width: float, height: float, degrees: float = 0.0) -> np.ndarray:
    """Corners from the top left; positive degrees rise to the right."""
    angle = -math.radians(degrees)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    half = np.array([[-width, -height], [width, -height], [width, height], [-width, height]]) / 2
    return half @ turn.T + [cx, cy]


def shrunk_maps(words: list[np.ndarray], *, size=(90, 130), ratio: float = 0.4) -> Tensor:
    """Logits that are high within words whose sides are moved in by D = A (1 - r²) / L."""
    logits = np.full(size, -9.0)
    y, x = np.mgrid[: size[0], : size[1]]
    for word in words:
        polygon = Polygon(word)
        inner = polygon.area * (1 - ratio**2) / polygon.length
        right, down = word[1] - word[0], word[3] - word[0]
        width, height = np.hypot(*right), np.hypot(*down)
        left = ((x - word[0, 0]) * right[0] + (y - word[0, 1]) * right[1]) / width
        top = ((x - word[0, 0]) * down[0] + (y - word[0, 1]) * down[1]) / height
        inside = (np.abs(left - width / 2) < width / 2 - inner) & (np.abs(top - height / 2) < height / 2 - inner)
        logits[inside] = 9.0
    return torch.from_numpy(logits)[None, None].float()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 40), thin=st.sampled_from(["any", "row", "column", "diagonal"]))
def test_smallest_rectangle_equals_shapely(seed: int, count: int, thin: str) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(0, 12, (2, count))
    if thin != "any":
        rows, columns = {"row": (rows * 0, columns), "column": (rows, columns * 0), "diagonal": (rows, rows)}[thin]
    order = np.lexsort((columns, rows))
    rows, columns = rows[order], columns[order]
    found = smallest_rectangle(rows, columns)
    corners = found.corners(1e-9)
    outline = Polygon(corners)
    assert all(outline.covers(point) for point in MultiPoint(np.stack([columns, rows], 1)).geoms)
    assert outline.exterior.is_ccw, "clockwise on the screen, where y runs down"
    assert abs(math.degrees(math.atan2(found.along[1], found.along[0]))) <= 45 + 1e-9
    # Of all directions in steps of a tenth of a degree none is better by more than such a step makes.
    angles = np.radians(np.arange(-45, 45, 0.1))
    x = columns[:, None] * np.cos(angles) + rows[:, None] * np.sin(angles)
    y = rows[:, None] * np.cos(angles) - columns[:, None] * np.sin(angles)
    areas = (np.ptp(x, 0) + 1) * (np.ptp(y, 0) + 1)
    assert found.size[0] * found.size[1] <= areas.min() + 1e-9


def test_upright_words_come_back() -> None:
    """By the exact inverse, to a cell; the fixed ratio loses height, the more the longer the word."""
    words = [rectangle(30, 20, 40, 16), rectangle(60, 60, 100, 12)]
    found = decode_db(shrunk_maps(words), unclip=None, min_side=1)
    assert is_same_set(found.quads[0].numpy(), words, 1.0)
    assert (found.scores > 0.99).all()
    long = decode_db(shrunk_maps(words[1:]), min_side=1).quads[0, 0].numpy()
    assert long[3, 1] - long[0, 1] < 8


def test_the_offset_is_the_papers() -> None:
    """Nine by three cells, of which D' = 27 · 2 / 24."""
    logits = torch.full((1, 1, 30, 30), -9.0)
    logits[..., 10:13, 8:17] = 9.0
    found = decode_db(logits, unclip=2.0)
    offset = 27 * 2 / 24
    wanted = rectangle(12, 11, 9 + 2 * offset, 3 + 2 * offset)
    np.testing.assert_allclose(found.quads[0, 0].numpy(), wanted, atol=1e-5)
    np.testing.assert_allclose(decode_db(logits, unclip=2.0, stride=4).quads[0, 0].numpy(), 4 * wanted, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(
    degrees=st.floats(-44, 44),
    width=st.floats(40, 80),
    height=st.floats(24, 36),
    ratio=st.sampled_from([0.3, 0.4, 0.6]),
)
def test_rotated_words_come_back(degrees: float, width: float, height: float, ratio: float) -> None:
    word = rectangle(64, 45, width, height, degrees)
    found = decode_db(shrunk_maps([word], ratio=ratio), unclip=None, shrink_ratio=ratio).quads[0]
    assert len(found) == 1
    assert iou(found[0].double().numpy(), word) > 0.85
    if width > 1.5 * height:
        assert closest_corners(found[0].numpy(), word) == np.abs(found[0].numpy() - word).max(), "from the top left"


def test_the_score_is_the_mean_within_the_rectangle() -> None:
    logits = torch.full((1, 1, 20, 20), -9.0)
    logits[..., 5:9, 5:15] = 9.0
    logits[..., 5:7, 5:15] = 0.0
    found = decode_db(logits, unclip=1.5)
    assert found.scores.item() == pytest.approx(0.75, abs=1e-3)
    assert not decode_db(logits, box_threshold=0.76).valid.any()
    # Of a slanted word, the corners of the window around it are not within.
    assert decode_db(shrunk_maps([rectangle(64, 45, 80, 36, 30)])).scores.item() > 0.85
    # Half of the rectangle around a triangle is background.
    triangle = torch.where(torch.ones(20, 20).triu().bool(), 9.0, -9.0)[None, None]
    assert not decode_db(triangle).valid.any()
    assert decode_db(triangle, box_threshold=0.4).valid.sum() == 1


def test_thresholds_and_sizes() -> None:
    logits = torch.full((1, 1, 20, 20), -9.0)
    logits[..., 5:8, 5:15] = 1.0
    assert decode_db(logits).valid.any()
    assert decode_db(logits, min_side=3.0).valid.any(), "three cells are three pixels"
    assert not decode_db(logits, min_side=3.1).valid.any()
    assert decode_db(logits, min_side=3.1, stride=2).valid.any()
    assert not decode_db(logits, threshold=0.74).valid.any()
    assert decode_db(logits, threshold=0.73).valid.any()


def test_a_batch_is_its_images_and_the_best_come_first() -> None:
    logits = shrunk_maps([rectangle(30, 20, 40, 24), rectangle(60, 60, 60, 30)])
    logits[..., 40:, :] -= 7.0
    batch = torch.cat([torch.full_like(logits, -9.0), logits, torch.full_like(logits, torch.nan)])
    found = decode_db(batch)
    assert found.valid.tolist() == [[False, False], [True, True], [False, False]]
    assert found.scores[1, 0] > found.scores[1, 1]
    assert not found.quads[~found.valid].any()
    assert torch.equal(found.quads[1:2], decode_db(logits).quads)
    assert decode_db(batch, max_detections=1).valid.tolist() == [[False], [True], [False]]
    largest = decode_db(batch, max_candidates=1)
    assert torch.equal(largest.quads[1, 0], found.quads[1, 1]), "the largest, though its score is lower"


def test_regions_meet_along_a_row_or_a_column_and_not_across_images() -> None:
    logits = torch.full((2, 1, 16, 16), -9.0)
    logits[0, 0, 2:6, 2:8] = 9.0
    logits[0, 0, 6:10, 8:14] = 9.0  # touches the first at a corner
    logits[1, 0, 2:6, 2:8] = 9.0
    assert decode_db(logits).valid.sum(1).tolist() == [2, 1]
    labels = connected_components((logits > 0)[:, 0])
    assert labels.unique().tolist() == [0, 1, 2, 3]


def test_nothing_and_everything() -> None:
    assert decode_db(torch.full((2, 1, 5, 5), -9.0)).quads.shape == (2, 0, 4, 2)
    assert decode_db(torch.zeros(0, 1, 5, 5)).valid.shape == (0, 0)
    whole = decode_db(torch.full((1, 1, 4, 8), 9.0), unclip=1e-9)
    np.testing.assert_allclose(whole.quads[0, 0].numpy(), rectangle(3.5, 1.5, 8, 4), atol=1e-5)
    single = torch.full((1, 1, 5, 5), -9.0)
    single[..., 2, 3] = 9.0
    np.testing.assert_allclose(
        decode_db(single, unclip=1e-9, min_side=1).quads[0, 0].numpy(), rectangle(3, 2, 1, 1), atol=1e-5
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes(dtype: torch.dtype) -> None:
    logits = shrunk_maps([rectangle(30, 20, 40, 24)])
    found = decode_db(logits.to(dtype))
    assert found.quads.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(found.quads.float(), decode_db(logits).quads)


def test_wrong_inputs_are_named() -> None:
    logits = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match=r"decode_db: expected score_logits \(B, 1, h, w\), got \(1, 4, 4\)"):
        decode_db(logits[:, 0])
    with pytest.raises(ValueError, match="expected unclip > 0, got 0"):
        decode_db(logits, unclip=0)
    with pytest.raises(ValueError, match=r"expected shrink_ratio in \(0, 1\], got 1.4"):
        decode_db(logits, shrink_ratio=1.4)
    with pytest.raises(ValueError, match="expected score_logits of a floating dtype"):
        decode_db(logits.long())
