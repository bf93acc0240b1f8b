"""Augmentation of photos with words: quads stay on their words, and words stay whole or are treated as cut."""

import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from shapely.geometry import Polygon, box

from box_folders import SHARED, needs_shared
from matchloss.recipes.augment import normalize
from matchloss.recipes.augment_boxes import measure
from matchloss.recipes.augment_words import LEAST_VISIBLE, WordScene, augment_words, visible_share
from matchloss.recipes.data import WordFolder, WordSample
from matchloss.recipes.pixel_scale import IMAGENET
from matchloss.recipes.warp_photo import View

PLAIN = {"scale": (1.0, 1.0), "rotate": 0.0, "empty": 0.0, "color": 0.0}
SIGMA = 3.0


def sample(quads: object, ignore: object = None, shape: tuple[int, int] = (240, 320), seed: int = 0) -> WordSample:
    image = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (3, *shape), dtype=np.uint8))
    quads = torch.tensor(quads, dtype=torch.float32).reshape(-1, 4, 2)
    flags = torch.zeros(len(quads), dtype=torch.bool) if ignore is None else torch.tensor(ignore)
    return WordSample(image, quads, flags, ["x"] * len(quads), f"{seed}")


def rectangle(x: float, y: float, width: float, height: float) -> list[list[float]]:
    return [[x, y], [x + width, y], [x + width, y + height], [x, y + height]]


GRID = [rectangle(20 + 75 * column, 15 + 45 * row, 50, 18) for row in range(5) for column in range(4)]


def marked(shape: tuple[int, int] = (360, 480)) -> WordSample:
    """Slanted words whose corners are marked by round spots: red the first, green the others."""
    quads = [
        np.array([[0, 0], [70, 10], [66, 50], [-5, 42]]) + np.array([60 + 130 * column, 40 + 105 * row])
        for row in range(3) for column in range(3)
    ]  # fmt: skip
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]] + 0.5
    image = np.full((3, *shape), 20.0)
    for quad in quads:
        for number, (x, y) in enumerate(quad):
            spot = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * SIGMA**2))
            image[0 if number == 0 else 1] += 200 * spot
    photo = torch.from_numpy(image.round().clip(0, 255).astype(np.uint8))
    return sample(np.array(quads), shape=shape)._replace(image=photo)


def shift_of_spot(channel: torch.Tensor, x: float, y: float, reach: int) -> tuple[float, float] | None:
    """How far the centre of gravity near (x, y) lies from there; None at the border, or where no spot is."""
    left, top = round(x) - reach, round(y) - reach
    if min(left, top) < 0 or left + 2 * reach > channel.shape[1] or top + 2 * reach > channel.shape[0]:
        return None
    part = channel[top : top + 2 * reach, left : left + 2 * reach].double()
    part = (part - part.amin()).clamp_min(0)
    steps = torch.arange(2 * reach) + 0.5
    total = part.sum()
    return float((part.sum(0) * steps).sum() / total) + left - x, float((part.sum(1) * steps).sum() / total) + top - y


@pytest.mark.parametrize(
    ("zoom", "rotate"), [(1.0, 0.0), (1.0, 25.0), (0.5, 0.0), (0.6, 25.0), (2.0, 0.0), (1.7, 25.0)]
)
def test_quads_stay_on_their_marks(zoom: float, rotate: float):
    photo, shifts, reach = marked(), [], math.ceil(4 * SIGMA * zoom)
    for seed in range(12):
        scene = augment_words(
            photo, np.random.default_rng(seed), size=(300, 260), **PLAIN | {"scale": (zoom, zoom), "rotate": rotate}
        )
        for quad in scene.quads.tolist():
            for number, (x, y) in enumerate(quad):
                shift = shift_of_spot(scene.image[0 if number == 0 else 1], x, y, reach)
                if shift is not None:
                    peak = scene.image[0 if number == 0 else 1, min(int(y), 299), min(int(x), 259)]
                    assert peak > 0.6 * scene.image.max()
                    shifts.append(shift)
    shifts = np.array(shifts)
    assert len(shifts) > 30
    assert np.abs(shifts).max() < 0.2
    assert np.abs(shifts.mean(0)).max() < 0.03  # half a pixel of the photo would show


@pytest.mark.parametrize("size", [(64, 96), (33, 57), (1, 1), (400, 500)])
@pytest.mark.parametrize("options", [{}, {"scale": (0.1, 10.0), "rotate": 180.0}, {"empty": 1.0, "long_side": 77}])
def test_shapes_types_and_purity(size: tuple[int, int], options: dict[str, object]):
    photo = sample(GRID, [number % 3 == 0 for number in range(20)])
    before = photo.image.clone(), photo.quads.clone(), photo.ignore.clone()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    for seed in range(6):
        scene = augment_words(photo, np.random.default_rng(seed), size=size, **options)
        assert (scene.image.dtype, scene.image.shape) == (torch.float32, (3, *size))
        assert (scene.quads.dtype, scene.ignore.dtype) == (torch.float32, torch.bool)
        assert scene.quads.shape == (len(scene.ignore), 4, 2)
        assert scene.image.isfinite().all()
        again = augment_words(photo, np.random.default_rng(seed), size=size, **options)
        assert all(torch.equal(one, two) for one, two in zip(scene, again, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one, two) for one, two in zip(before, photo[:3], strict=True))


def test_options_do_not_move_the_random_numbers():
    photo, after = sample(GRID), []
    for choice in [PLAIN, {}, {"empty": 1.0}, {"color": 0.0, "scale": (0.5, 3.0)}, {"long_side": 100}]:
        rng = np.random.default_rng(7)
        augment_words(photo, rng, size=(90, 70), **choice)
        after.append(rng.random())
    assert len(set(after)) == 1
    first, second = (augment_words(photo, np.random.default_rng(1), size=(90, 70), color=c) for c in (0.0, 1.0))
    assert torch.equal(first.quads, second.quads)
    assert not torch.equal(first.image, second.image)


def area(quads: torch.Tensor) -> torch.Tensor:
    x, y = quads.double().unbind(-1)
    return (x * y.roll(-1, 1) - y * x.roll(-1, 1)).sum(1) / 2


def inside(scene: WordScene) -> torch.Tensor:
    height, width = scene.image.shape[1:]
    return ((scene.quads > -1e-3) & (scene.quads < torch.tensor([width, height]) + 1e-3)).all(-1).all(-1)


@pytest.mark.parametrize("rotate", [0.0, 8.0])
def test_words_stay_whole_where_there_are_gaps(rotate: float):
    photo = sample(GRID)
    seen = []
    for seed in range(60):
        scene = augment_words(photo, np.random.default_rng(seed), size=(110, 140), **PLAIN | {"rotate": rotate})
        assert inside(scene).all()
        assert not scene.ignore.any()
        assert (area(scene.quads) - 900).abs().max() < 0.1  # clockwise still: nothing is mirrored
        seen.append(len(scene.quads))
    assert min(seen) >= 1
    assert max(seen) >= 4
    # Words to be ignored have no say in it: they are cut, and stay ignored.
    scenes = [
        augment_words(sample(GRID, [True] * 20), np.random.default_rng(seed), size=(110, 140), **PLAIN)
        for seed in range(20)
    ]
    assert not all(inside(scene).all() for scene in scenes)
    assert all(scene.ignore.all() for scene in scenes)


def test_views_without_words():
    corner = [rectangle(10, 10, 60, 20), rectangle(10, 50, 60, 20)]
    options = PLAIN | {"empty": 0.4}
    counts = [
        len(augment_words(sample(corner), np.random.default_rng(seed), size=(90, 120), **options).quads)
        for seed in range(100)
    ]
    assert 25 < counts.count(0) < 55
    # Where there is no room for one, a view with words: a photo full of them, and one that fits just once.
    crowded = augment_words(sample(GRID), np.random.default_rng(0), size=(240, 320), **options | {"empty": 1.0})
    assert len(crowded.quads) == 20
    assert len(augment_words(sample([]), np.random.default_rng(0), size=(90, 120)).quads) == 0


def test_what_is_mostly_hidden_is_ignored():
    # One wide word and a window narrower than it: how much is seen decides.
    for width, expected in ((150, True), (170, False), (260, False)):
        scene = augment_words(
            sample([rectangle(60, 100, 200, 20)]), np.random.default_rng(3), size=(240, width), **PLAIN
        )
        assert scene.ignore.tolist() == [expected]
        torch.testing.assert_close(scene.quads[0, 1, 0] - scene.quads[0, 0, 0], torch.tensor(200.0))
    # Words that are not seen at all are gone.
    photo = sample([rectangle(20, 20, 40, 10), rectangle(20, 200, 40, 10)], [False, True])
    scene = augment_words(photo, np.random.default_rng(0), size=(100, 320), **PLAIN)
    assert (len(scene.quads), scene.ignore.tolist()) == (1, [False])


point = st.tuples(st.floats(-60, 160), st.floats(-60, 160))


@given(point, st.floats(5, 120), st.floats(3, 60), st.floats(-3.2, 3.2), st.floats(-0.2, 0.2))
@settings(max_examples=100, deadline=None)
def test_visible_share_is_that_of_shapely(
    center: tuple[float, float], width: float, height: float, angle: float, lean: float
):
    u = np.array([math.cos(angle), math.sin(angle)]) * width / 2
    v = np.array([-math.sin(angle + lean), math.cos(angle + lean)]) * height / 2
    quad = np.array([-u - v, u - v, u + v, v - u]) + center
    share = visible_share(quad[None], (90, 120)).item()
    assert abs(share - Polygon(quad).intersection(box(0, 0, 120, 90)).area / Polygon(quad).area) < 0.1
    assert 0 < LEAST_VISIBLE < 1


def test_views_turn_clockwise_on_the_screen():
    view = View(2.0, math.pi / 2, np.array([10.0, 5.0]), np.array([-3.0, -4.0]))
    np.testing.assert_allclose(view.see(np.array([[12.0, 5.0], [10.0, 5.0]])), [[3, 8], [3, 4]], atol=1e-12)
    np.testing.assert_allclose(view.trace(np.array([[3.0, 8.0], [3.0, 4.0]])), [[12, 5], [10, 5]], atol=1e-12)


# Pixels


def test_the_whole_photo_is_what_inference_sees():
    photo = sample(GRID)
    scene = augment_words(photo, np.random.default_rng(0), size=(240, 320), **PLAIN)
    torch.testing.assert_close(scene.image, normalize(photo.image), atol=1e-3, rtol=0)
    torch.testing.assert_close(scene.quads, photo.quads, atol=1e-4, rtol=0)
    scaled = augment_words(photo, np.random.default_rng(0), size=(240, 320), pixels=IMAGENET, **PLAIN)
    own = [torch.tensor(part)[:, None, None] for part in IMAGENET]
    torch.testing.assert_close(scaled.image, (photo.image / 255 - own[0]) / own[1], atol=1e-3, rtol=0)


def test_small_photos_are_surrounded_by_the_mean():
    photo = sample([rectangle(20, 20, 40, 10)], shape=(60, 80))
    for seed in range(10):
        scene = augment_words(photo, np.random.default_rng(seed), size=(200, 200), **PLAIN)
        x, y = (scene.quads[0, 0] - 20).tolist()
        assert 0 <= x <= 120 + 1e-3
        assert 0 <= y <= 140 + 1e-3
        shown = scene.image.abs().sum(0) > 0
        inner = shown[math.ceil(y) : int(y) + 60, math.ceil(x) : int(x) + 80]
        assert inner.float().mean() > 0.99
        assert shown.sum() <= 61 * 81 + 142


def test_fine_texture_is_averaged():
    rows, columns = np.mgrid[0:400, 0:400]
    board = torch.from_numpy(((rows + columns) % 2 * 255).astype(np.uint8)).expand(3, -1, -1)
    photo = sample([], shape=(400, 400))._replace(image=board)
    for rotate in (0.0, 20.0):
        scene = augment_words(
            photo, np.random.default_rng(0), size=(60, 60), **PLAIN | {"scale": (0.25, 0.25), "rotate": rotate}
        )
        assert scene.image.abs().max() < 0.1
    assert measure(board)[1] > 127


def test_zooms_and_turns_fill_their_ranges():
    photo = sample([rectangle(140, 110, 40, 20)])
    sides, angles = [], []
    for seed in range(200):
        quad = augment_words(photo, np.random.default_rng(seed), size=(160, 160), empty=0.0).quads[0]
        right = quad[1] - quad[0]
        sides.append(float(right.norm()) / 40)
        angles.append(math.degrees(math.atan2(right[1], right[0])))
    assert 0.5 <= min(sides) < 0.55
    assert 1.8 < max(sides) <= 2
    assert 0.4 < np.mean(np.array(sides) < 1) < 0.6  # evenly in the logarithm
    assert -10 <= min(angles) < -9
    assert 9 < max(angles) <= 10
    assert abs(np.mean(angles)) < 1.5
    scene = augment_words(photo, np.random.default_rng(0), size=(160, 160), long_side=640, **PLAIN)
    assert float((scene.quads[0, 1] - scene.quads[0, 0]).norm()) == pytest.approx(80)


@needs_shared
def test_fast_enough_to_run_beside_a_training():
    data = WordFolder(SHARED / "icdar2015_text", "val")
    photo, taken = data[0], []
    for seed in range(20):
        start = time.thread_time()
        augment_words(photo, np.random.default_rng(seed), size=(384, 384))
        taken.append(time.thread_time() - start)
    assert min(taken) < 0.015
