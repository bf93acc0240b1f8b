"""EAST's maps to words: the closed form, what is left out, batches, and real annotations there and back."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from matchloss.evaluation import evaluate_icdar
from matchloss.postprocess import decode_east
from reference.lanms import closest_corners, is_same_set

DATA = Path(__file__).parents[2] / "shared" / "data" / "icdar2015_text"


def rectangle(cx: float, cy: float, width: float, height: float, degrees: float) -> np.ndarray:
    """Corners from the word's top left; positive degrees rise to the right."""
    angle = -math.radians(degrees)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    half = np.array([[-width, -height], [width, -height], [width, height], [-width, height]]) / 2
    return half @ turn.T + [cx, cy]


def maps_of(words: list[np.ndarray], *, size=(24, 40), stride: int = 4, quad: bool = False) -> tuple[Tensor, Tensor]:
    """Logits and geometry of rectangles, written from the paper: distances of each point to the four sides."""
    logits, geometry = np.full(size, -9.0), np.zeros((8 if quad else 5, *size))
    for corners in words:
        right, down = corners[1] - corners[0], corners[3] - corners[0]
        width, height = np.hypot(*right), np.hypot(*down)
        right, down = right / width, down / height
        for i, j in np.ndindex(*size):
            point = np.array([stride * j, stride * i], dtype=float)
            left, top = (point - corners[0]) @ right, (point - corners[0]) @ down
            if 0.2 * width < left < 0.8 * width and 0.2 * height < top < 0.8 * height:
                logits[i, j] = 4.0
                angle = -math.atan2(right[1], right[0])
                distances = [top, width - left, height - top, left, angle]
                geometry[:, i, j] = (corners - point).ravel() if quad else distances
    return torch.from_numpy(logits)[None, None].float(), torch.from_numpy(geometry)[None].float()


WORDS = [rectangle(60, 28, 56, 20, 12), rectangle(90, 70, 80, 24, -25), rectangle(24, 70, 20, 40, 3)]


@pytest.mark.parametrize("quad", [False, True], ids=["rbox", "quad"])
@pytest.mark.parametrize("merge", ["exact", "components"])
def test_words_come_back(quad: bool, merge: str) -> None:
    found = decode_east(*maps_of(WORDS, quad=quad), merge=merge)
    assert found.valid.all()
    assert is_same_set(found.quads[0].numpy(), WORDS, 1e-3)
    torch.testing.assert_close(found.scores, torch.full((1, 3), 4.0).sigmoid())
    # Not only the outline: the first corner is the word's top left.
    first = found.quads[0, :, 0].numpy()
    assert all(np.abs(first - word[0]).max(1).min() < 1e-3 for word in WORDS)


@settings(max_examples=15, deadline=None)
@given(
    degrees=st.floats(-89, 89),
    width=st.floats(30, 90),
    height=st.floats(26, 60),
    shift=st.floats(0, 8),
    quad=st.booleans(),
)
def test_any_rectangle_comes_back(degrees: float, width: float, height: float, shift: float, quad: bool) -> None:
    word = rectangle(80 + shift, 48 - shift, width, height, degrees)
    found = decode_east(*maps_of([word], quad=quad))
    np.testing.assert_allclose(found.quads[0].numpy(), word[None], atol=1e-3)


def test_the_order_of_distances() -> None:
    logits, geometry = maps_of(WORDS)
    swapped = geometry[:, [0, 2, 3, 1, 4]]
    assert torch.equal(decode_east(logits, swapped, distance_order="tblr").quads, decode_east(logits, geometry).quads)
    assert not torch.allclose(decode_east(logits, swapped).quads[:, :1], decode_east(logits, geometry).quads[:, :1])


def test_the_stride_scales_points_not_distances() -> None:
    logits, geometry = maps_of([rectangle(30, 20, 36, 16, 10)], stride=2)
    np.testing.assert_allclose(
        decode_east(logits, geometry, stride=2).quads[0, 0].numpy(), rectangle(30, 20, 36, 16, 10), atol=1e-3
    )


def test_a_batch_is_its_images() -> None:
    """Of unequal counts, padded with zeros."""
    scenes = [maps_of(WORDS), maps_of([]), maps_of(WORDS[1:2])]
    logits, geometry = (torch.cat(parts) for parts in zip(*scenes, strict=True))
    for merge in ("exact", "components"):
        found = decode_east(logits, geometry, merge=merge)
        assert found.valid.tolist() == [[True] * 3, [False] * 3, [True, False, False]]
        assert not found.quads[~found.valid].any()
        assert not found.scores[~found.valid].any()
        for image, scene in enumerate(scenes):
            alone = decode_east(*scene, merge=merge)
            assert torch.equal(found.quads[image][found.valid[image]], alone.quads[0])
    assert decode_east(logits, geometry, max_detections=1).valid.tolist() == [[True], [False], [True]]


def test_nothing_to_find() -> None:
    logits, geometry = maps_of([])
    assert decode_east(logits, geometry).quads.shape == (1, 0, 4, 2)
    assert decode_east(logits[:0], geometry[:0]).valid.shape == (0, 0)
    assert decode_east(logits[..., :0], geometry[..., :0]).valid.shape == (1, 0)
    logits, geometry = maps_of(WORDS)
    for broken in (torch.nan, torch.inf, -torch.inf):
        assert not decode_east(logits, torch.full_like(geometry, broken)).valid.any()
    assert not decode_east(torch.full_like(logits, torch.nan), geometry).valid.any()


def test_broken_cells_are_left_out() -> None:
    """Not finite, and distances that make no box, or make one of two negative sides."""
    logits, geometry = maps_of(WORDS[:1])
    wanted = decode_east(logits, geometry).quads
    for values in (torch.nan, torch.inf, -5.0, 0.0):
        spoilt, everywhere = geometry.clone(), logits.clone()
        spoilt[:, :4, 18:, 20:] = values
        everywhere[..., 18:, 20:] = 9.0
        assert torch.equal(decode_east(everywhere, spoilt).quads, wanted)
        assert torch.equal(decode_east(everywhere, spoilt, merge="components").quads, wanted)


def test_the_threshold_is_exclusive_and_of_probabilities() -> None:
    logits, geometry = maps_of(WORDS[:1])
    score = float(torch.tensor(4.0).sigmoid())
    assert decode_east(logits, geometry, score_threshold=score - 1e-4).valid.any()
    assert not decode_east(logits, geometry, score_threshold=score).valid.any()


def test_only_the_best_candidates_are_looked_at() -> None:
    logits, geometry = maps_of(WORDS[:2])
    logits[..., 10:, :] = logits[..., 10:, :].clamp(max=3.0)
    found = decode_east(logits, geometry, max_candidates=5)
    assert found.valid.sum() == 1
    assert closest_corners(found.quads[0, 0].numpy(), WORDS[0]) < 1e-3


def test_touching_words_are_two() -> None:
    """Their cells touch, so they are one component."""
    words = [rectangle(40, 40, 60, 40, 0), rectangle(100, 40, 60, 40, 0)]
    logits, geometry = maps_of(words, size=(24, 40))
    rows, columns = slice(8, 13), slice(6, 30)
    logits[..., rows, columns] = 4.0
    for j in range(6, 30):
        word = words[j >= 18]
        for i in range(8, 13):
            left, top = 4 * j - word[0, 0], 4 * i - word[0, 1]
            geometry[0, :, i, j] = torch.tensor([top, 60 - left, 40 - top, left, 0.0])
    for merge in ("exact", "components"):
        found = decode_east(logits, geometry, merge=merge)
        assert is_same_set(found.quads[0].numpy(), words, 1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes(dtype: torch.dtype) -> None:
    logits, geometry = maps_of(WORDS)
    found = decode_east(logits.to(dtype), geometry.to(dtype))
    assert found.quads.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert is_same_set(found.quads[0].numpy(), WORDS, 1e-3 if dtype == torch.float64 else 0.6)


def read_words(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Quads and whether to ignore each."""
    lines = (DATA / "gt" / f"gt_{name}.txt").read_text(encoding="utf-8").splitlines()
    fields = [line.split(",", 8) for line in lines if line.strip()]
    quads = np.array([[float(value) for value in one[:8]] for one in fields]).reshape(-1, 4, 2)
    return quads, np.array([one[8] == "###" for one in fields], dtype=bool)


@pytest.mark.skipif(not DATA.is_dir(), reason="the larger data sets are not here")
def test_real_annotations_come_back() -> None:
    """Encoded, taken for perfect predictions, decoded, and scored: next to nothing is lost."""
    from matchloss.encoders import EASTTargetEncoder

    detections, truths = [], []
    for name in (DATA / "val.txt").read_text().split():
        quads, ignore = read_words(name)
        maps = EASTTargetEncoder()([torch.from_numpy(quads).float()], [torch.from_numpy(ignore)], (720, 1280))
        found = decode_east(18 * maps.score - 9, maps.geometry)
        detections.append((found.quads[0], found.scores[0]))
        truths.append((quads, ignore))
    scores = evaluate_icdar(detections, truths)
    assert scores.hmean >= 0.95
    assert scores.precision >= 0.95


def test_wrong_inputs_are_named() -> None:
    logits, geometry = maps_of([])
    with pytest.raises(ValueError, match=r"expected score_logits \(B, 1, h, w\) and geometry \(B, 5 or 8, h, w\)"):
        decode_east(logits, geometry[:, :4])
    with pytest.raises(ValueError, match="expected score_logits"):
        decode_east(logits[:, 0], geometry)
    with pytest.raises(ValueError, match="expected geometry of a floating dtype"):
        decode_east(logits, geometry.long())
    with pytest.raises(ValueError, match="expected merge to be one of 'exact', 'components', got 'both'"):
        decode_east(logits, geometry, merge="both")
    with pytest.raises(ValueError, match="expected distance_order to be one of 'trbl', 'tblr', got 'ltrb'"):
        decode_east(logits, geometry, distance_order="ltrb")
    with pytest.raises(ValueError, match="expected max_detections > 0, got 0"):
        decode_east(logits, geometry, max_detections=0)
