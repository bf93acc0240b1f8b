"""DBTargetEncoder: its maps equal the reference's, and the margins are those that clipping a polygon gives."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from shapely.geometry import Point, Polygon

import matchloss
from host_reads import NoHostReads
from matchloss.encoders import DBTargetEncoder
from matchloss.types import DBMaps
from reference import text_maps as ref
from word_scenes import Scene, one_image, photos, slanted, upright

SIZE = (32, 40)


def same_as_plain(encoder: DBTargetEncoder, scene: Scene) -> None:
    """Bit by bit, but for the root in the threshold."""
    fast = encoder(*scene)
    with matchloss.reference():
        plain = encoder(*scene)
    for name, one, other in zip(DBMaps._fields, fast, plain, strict=True):
        assert one.dtype == other.dtype
        if name == "threshold":
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
        else:
            assert torch.equal(one, other), name


@pytest.mark.parametrize(
    "options", [{}, {"stride": 4, "min_side": 0.0}, {"shrink": 0.7, "threshold_range": (0.1, 0.9)}], ids=str
)
@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_equals_the_reference(options: dict, seed: int) -> None:
    encoder, scene = DBTargetEncoder(**options), slanted(seed, (4, 0, 3), SIZE, heights=(4, 16))
    maps = encoder([quads.double() for quads in scene.quads], scene.ignore, SIZE)
    every = {name: getattr(encoder, name) for name in encoder.__dataclass_fields__}
    for image, (quads, flags) in enumerate(zip(scene.quads, scene.ignore, strict=True)):
        finite = quads.isfinite().all(-1).all(-1)
        wanted = ref.db(quads[finite].double().numpy(), flags[finite].numpy(), SIZE, **every)
        for part, expected in zip(maps, wanted, strict=True):
            np.testing.assert_allclose(part[image, 0].numpy(), expected, atol=1e-9)


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10**6), stride=st.sampled_from([1, 3, 4]))
def test_kernel_equals_plain(seed: int, stride: int) -> None:
    scene = slanted(seed, (15, 0, 25), (64, 88), heights=(4, 30))
    same_as_plain(DBTargetEncoder(stride=stride), scene)
    same_as_plain(DBTargetEncoder(stride=stride), scene._replace(quads=[quads.round() for quads in scene.quads]))


def test_kernel_equals_plain_on_photos() -> None:
    same_as_plain(DBTargetEncoder(stride=4), photos(3))


@pytest.mark.parametrize("seed", range(4))
def test_margins_are_those_of_polygons_offset_with_round_corners(seed: int) -> None:
    """Shapely's buffers, at each point that is not within a hundredth of a pixel of their border."""
    scene = slanted(seed + 20, (1,), (100, 120), heights=(20, 40))
    quad = scene.quads[0][0].numpy()
    if not np.isfinite(quad).all() or ref.crosses(quad) or abs(ref.area(quad)) < 1:
        quad = np.array(upright(20, 30, 70, 25), dtype=np.float32)
    maps = DBTargetEncoder()([torch.from_numpy(quad)[None]], [torch.tensor([False])], (100, 120))
    polygon = Polygon(quad)
    margin = polygon.area * (1 - 0.4**2) / polygon.length
    for part, moved in ((maps.score, -margin), (maps.threshold_mask, margin)):
        offset = polygon.buffer(moved, quad_segs=64)
        inside = part[0, 0] > 0
        for i, j in np.ndindex(100, 120):
            point = Point(j, i)
            if offset.boundary.distance(point) > 0.01:
                assert bool(inside[i, j]) == offset.contains(point), (i, j)


def test_threshold_is_highest_on_outlines_and_takes_the_larger_of_two_words() -> None:
    one, two = upright(10, 10, 40, 20), upright(52, 10, 40, 20)  # D = 5.6 each, 2 pixels apart
    maps = DBTargetEncoder(threshold_range=(0.2, 0.8))(*one_image(one, two, size=(40, 100)))
    row = maps.threshold[0, 0, 20]
    assert row[10] == row[50] == row[52] == pytest.approx(0.8)
    assert row[51] == pytest.approx(0.2 + 0.6 * (1 - 1 / 5.6))
    assert row[0] == row[30] == pytest.approx(0.2)
    assert maps.threshold_mask[0, 0, 20].nonzero()[:, 0].tolist() == list(range(5, 98))
    assert maps.score[0, 0, 20].nonzero()[:, 0].tolist() == [*range(16, 45), *range(58, 87)]


def test_unreadable_and_tiny_words_are_left_out_of_the_threshold_and_do_not_count_for_the_score() -> None:
    scene = one_image(upright(4, 4, 40, 20), upright(60, 4, 40, 7), upright(30, 10, 40, 30), ignore=(2,))
    maps, alone = DBTargetEncoder()(*scene), DBTargetEncoder()(*one_image(upright(4, 4, 40, 20)))
    assert torch.equal(maps.threshold, alone.threshold)
    assert torch.equal(maps.threshold_mask, alone.threshold_mask)
    assert torch.equal(maps.score, alone.score)
    assert maps.mask[maps.score > 0].all()
    assert not maps.mask[0, 0, 5, 70]
    assert not maps.mask[0, 0, 35, 60]
    assert maps.mask[0, 0, 70].all()


def test_a_word_without_a_point_does_not_count_as_background() -> None:
    """6 rows are left of it less the margin, between two of the rows looked at."""
    maps = DBTargetEncoder(stride=32)(*one_image(upright(3, 40, 100, 20), size=(96, 128)))
    assert not maps.score.any()
    maps = DBTargetEncoder(stride=32)(*one_image(upright(3, 60, 100, 20), size=(96, 128)))
    assert not maps.score.any()
    assert maps.mask[0, 0].tolist() == [[True] * 4, [True] * 4, [True, False, False, False]]


def test_no_words() -> None:
    maps = DBTargetEncoder(stride=4)(*one_image())
    assert maps.mask.all()
    assert not maps.score.any()
    assert not maps.threshold_mask.any()
    assert maps.threshold.unique().tolist() == pytest.approx([0.3])


def test_traces_and_reads_nothing_on_the_host() -> None:
    scene, encoder = slanted(4, (3, 2), SIZE), DBTargetEncoder(stride=4)
    with NoHostReads(), matchloss.reference():
        wanted = encoder(*scene)
    compiled = torch.compile(lambda quads, ignore: encoder(quads, ignore, SIZE), backend="eager", fullgraph=True)
    assert all(torch.equal(one, other) for one, other in zip(compiled(*scene[:2]), wanted, strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 1.5}, "expected stride to be a positive integer, got 1.5"),
        ({"shrink": 1.0}, "expected 0 < shrink < 1, got 1.0"),
        ({"threshold_range": (0.7, 0.3)}, "expected threshold_range with 0 <= low < high <= 1, got 0.7 and 0.3"),
        ({"min_side": -2.0}, "expected min_side >= 0"),
    ],
)
def test_options_are_checked(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"DBTargetEncoder: {message}"):
        DBTargetEncoder(**options)
