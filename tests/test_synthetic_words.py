"""Words of our own on photos: quads are tight on the ink, and no word of the photo comes along."""

import itertools
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image
from shapely.geometry import Polygon, box

from box_folders import SHARED, needs_shared
from matchloss.recipes import synthetic_words
from matchloss.recipes.augment_words import augment_words
from matchloss.recipes.data import WordFolder, WordSample
from matchloss.recipes.synthetic_strings import FORMS, SIGNS, draw_string
from matchloss.recipes.synthetic_words import paint_words
from matchloss.recipes.word_ink import LUMA, carry, corners, draw_line, homography, open_font, plain_fonts, set_apart
from word_folders import SAMPLE

SIZE = (256, 320)


def photo(quads: object = (), ignore: bool = False, shape: tuple[int, int] = (300, 400)) -> WordSample:
    """Blue, but red where words are."""
    quads = torch.tensor(quads, dtype=torch.float32).reshape(-1, 4, 2)
    image = torch.zeros(3, *shape, dtype=torch.uint8)
    image[2] = 120
    for x1, y1, x2, y2 in torch.cat([quads.amin(1), quads.amax(1)], 1).int().tolist():
        image[:, y1:y2, x1:x2] = torch.tensor([250, 0, 0], dtype=torch.uint8)[:, None, None]
    return WordSample(image, quads, torch.full((len(quads),), ignore), [""] * len(quads), "a")


def block(x: int, y: int, width: int, height: int) -> list[list[int]]:
    return [[x, y], [x + width, y], [x + width, y + height], [x, y + height]]


@pytest.fixture
def inks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[object, np.ndarray]]]:
    """What is laid on the pictures as ink, unblurred: frames and opacities."""
    laid, real = [], synthetic_words.warp_ink

    def warp_ink(ink: object, outline: object, frame: object, blur: float) -> np.ndarray:
        laid.append((frame, real(ink, outline, frame, 0.0)))
        return laid[-1][1]

    monkeypatch.setattr(synthetic_words, "warp_ink", warp_ink)
    return laid


def distances(quad: np.ndarray, points: np.ndarray) -> np.ndarray:
    """How far inside of each side of a clockwise quad the points (k, 2) lie: (4, k)."""
    sides = np.roll(quad, -1, 0) - quad
    offsets = points - quad[:, None]
    return (sides[:, None, 0] * offsets[..., 1] - sides[:, None, 1] * offsets[..., 0]) / np.linalg.norm(
        sides, axis=1, keepdims=True
    )


@pytest.mark.parametrize("seed", range(6))
def test_quads_are_tight_on_the_ink(seed: int, inks: list[tuple[np.ndarray, np.ndarray]]):
    made = paint_words(photo(), np.random.default_rng(seed), size=SIZE, lines=(8, 8))
    canvas = np.zeros(SIZE)
    for (left, top, right, bottom), opacity in inks:
        canvas[top:bottom, left:right] = np.maximum(canvas[top:bottom, left:right], opacity)
    rows, columns = np.nonzero(canvas >= 0.12)  # bent, a thin stroke is spread over two pixels
    points, strong = np.stack([columns, rows], 1) + 0.5, canvas[rows, columns] >= 0.35
    covered = np.zeros(len(points), bool)
    for quad in made.quads.double().numpy():
        inner = distances(quad, points)
        covered |= (inner > -1.0).all(0)
        mine = (inner > 0).all(0)
        assert mine.any()
        assert inner[:, mine].min(1).max() < 1.8  # ink comes this near to each of the four sides
    assert covered[strong].mean() > 0.998
    assert len(made.quads) >= 3


def test_the_ink_is_in_the_picture_and_reads_from_the_first_corner():
    # One line on a plain picture, looked up again by its pixels.
    everywhere = photo([block(0, 0, 400, 300)])
    for seed in range(12):
        made = paint_words(everywhere, np.random.default_rng(seed), size=(300, 900), lines=(1, 1), heights=(30.0, 30.0))
        image = made.image.double().numpy()
        plain = np.median(image.reshape(3, -1), 1)
        changed = np.abs(image - plain[:, None, None]).max(0) > 45
        rows, columns = np.nonzero(changed)
        x1, y1, x2, y2 = Polygon(made.quads.reshape(-1, 2).tolist()).convex_hull.buffer(30).bounds  # with a plate
        assert len(rows) > 50
        assert ((columns > x1) & (columns < x2) & (rows > y1) & (rows < y2)).all()
        first = made.quads[0]
        assert float((first[1] - first[0])[0]) > 0  # never upside down
        assert float((first[3] - first[0])[1]) > 0
        middles = made.quads.mean(1)[:, 0]
        assert torch.equal(middles, middles.sort().values)  # the words of a line from left to right


def test_samples_are_pure_functions_of_the_generator():
    source = photo([block(5, 5, 60, 20)])
    before = source.image.clone(), source.quads.clone()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    one, two, other = (paint_words(source, np.random.default_rng(seed), size=SIZE) for seed in (4, 4, 5))
    assert torch.equal(one.image, two.image)
    assert torch.equal(one.quads, two.quads)
    assert one.texts == two.texts
    assert not torch.equal(one.image, other.image)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(before[0], source.image)
    assert torch.equal(before[1], source.quads)
    assert (one.image.dtype, tuple(one.image.shape)) == (torch.uint8, (3, *SIZE))
    assert (one.quads.dtype, one.quads.shape) == (torch.float32, (len(one.texts), 4, 2))
    assert one.ignore.tolist() == [False] * len(one.texts)
    assert one.name == "a, synthetic"


@given(st.integers(0, 10**6), st.integers(20, 200), st.integers(20, 200))
@settings(max_examples=25, deadline=None)
def test_words_lie_in_the_picture_and_apart(seed: int, height: int, width: int):
    made = paint_words(photo(), np.random.default_rng(seed), size=(height, width), lines=(5, 9))
    shapes = [Polygon(quad) for quad in made.quads.double().tolist()]
    for shape in shapes:
        assert shape.is_valid
        assert shape.exterior.is_ccw  # y upwards there: clockwise on the screen
        assert shape.area > 1
        assert box(0, 0, width, height).contains(shape)
    for one, two in itertools.combinations(shapes, 2):
        assert one.intersection(two).area < 0.1 * min(one.area, two.area)  # slanted letters of neighbours may meet


@pytest.mark.parametrize("ignore", [False, True])
def test_no_word_of_the_photo_comes_along(ignore: bool):
    source = photo([block(150, 100, 90, 40), block(20, 220, 60, 30)], ignore)
    for seed in range(40):
        made = paint_words(source, np.random.default_rng(seed), size=SIZE, lines=(0, 0))
        assert made.image[0].max() < 60  # red
        assert made.image[2].max() > 90
        assert (len(made.quads), made.texts) == (0, [])


def test_where_words_are_everywhere_the_picture_is_plain():
    everywhere = photo([block(0, 0, 400, 300)])
    means = set()
    for seed in range(10):
        image = paint_words(everywhere, np.random.default_rng(seed), size=SIZE, lines=(0, 0)).image.double()
        assert image.std((1, 2)).max() < 7  # noise
        means.add(tuple(image.mean((1, 2)).round().tolist()))
    assert len(means) == 10


def test_strings_are_many_and_in_every_font():
    rng = np.random.default_rng(0)
    drawn = [draw_string(rng) for _ in range(3000)]
    assert len(set(drawn)) > 1200
    assert all(text and text.isprintable() and " " not in text for text in drawn)
    assert sum(any(letter.isdigit() for letter in text) for text in drawn) > 400
    assert {text.lower() for text in drawn} & set(SIGNS)
    letters = sorted({*"".join(drawn), *"".join(FORMS)} - {"#"})
    assert len(letters) > 60
    assert len(plain_fonts()) == len(set(plain_fonts())) == 18
    for path in plain_fonts():
        font = open_font(path, 32)
        shapes = {bytes(font.getmask(letter, "L")) for letter in [*letters, "\uffff"]}
        assert len(shapes) == len(letters) + 1, path.name  # none is empty, none the box of a missing letter


def test_own_fonts():
    options = {"size": SIZE, "lines": (4, 4)}
    fonts = plain_fonts()
    made = [paint_words(photo(), np.random.default_rng(1), fonts=fonts[k : k + 1], **options).image for k in (0, 16)]
    assert not torch.equal(*made)
    assert torch.equal(made[0], paint_words(photo(), np.random.default_rng(1), fonts=[fonts[0]], **options).image)


def test_tiny_letters_and_missing_ones():
    made = [paint_words(photo(), np.random.default_rng(k), size=SIZE, heights=(3.0, 6.0)) for k in range(8)]
    assert sum(len(one.texts) for one in made) > 30
    assert all(torch.isfinite(one.quads).all() for one in made)
    with pytest.raises(ValueError, match=r"draw_line: font must have letters for the words, got .* and ' '"):
        draw_line(["a", " "], open_font(plain_fonts()[0], 20), space=5.0, stroke=0)
    small = photo(shape=(2, 3))
    assert paint_words(small, np.random.default_rng(0), size=SIZE).image.shape == (3, *SIZE)


color = st.tuples(*[st.floats(0, 255)] * 3).map(np.array)


@given(color, st.floats(0, 255), st.floats(0, 127))
@settings(max_examples=100, deadline=None)
def test_colours_are_set_apart(value: np.ndarray, background: float, least: float):
    found = set_apart(value, background, least)
    assert abs(float(found @ LUMA) - background) >= least - 1e-6
    assert (found >= -1e-6).all()
    assert (found <= 255 + 1e-6).all()


def test_perspectives_take_corners_to_corners():
    rng = np.random.default_rng(0)
    for _ in range(20):
        source = corners(np.array([0.0, 0.0, *rng.uniform(10, 200, 2)]))
        target = source * rng.uniform(0.5, 2) + rng.uniform(-3, 3, (4, 2))
        np.testing.assert_allclose(carry(homography(source, target), source), target, atol=1e-8)
    # A straight line stays straight: the diagonals meet where the middle goes.
    middle = carry(homography(source, target), source.mean(0)[None])[0]
    for a, b in ((0, 2), (1, 3)):
        side, offset = target[b] - target[a], middle - target[a]
        assert abs(side[0] * offset[1] - side[1] * offset[0]) < 1e-6


def test_the_sample_makes_a_picture_to_train_on():
    data = WordFolder(SAMPLE, "train")
    made = paint_words(data[0], np.random.default_rng(0), size=SIZE)
    scene = augment_words(made, np.random.default_rng(0), size=(192, 192))
    assert len(scene.quads) >= 1
    Image.fromarray(made.image.permute(1, 2, 0).contiguous().numpy())


@needs_shared
def test_fast_enough_to_run_beside_a_training():
    source = WordFolder(SHARED / "icdar2015_text", "val")[0]
    taken = []
    for seed in range(30):
        start = time.thread_time()
        paint_words(source, np.random.default_rng(seed), size=(384, 384))
        taken.append(time.thread_time() - start)
    assert sorted(taken)[10] < 0.03
