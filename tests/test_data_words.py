"""Folders of words: which format is read, what happens to impossible quads, what stays in memory."""

import importlib.util
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image
from shapely.geometry import LinearRing, LineString, Polygon

from box_folders import HEIGHT, SHARED, WIDTH, image, needs_shared, write
from matchloss.recipes.data import DataError, WordFolder
from matchloss.recipes.data.word_annotations import Word, WordAnnotation, tidy_words
from word_folders import SAMPLE, fails, icdar, td500

WORD = "10,5,30,5,30,15,10,15,Taxi"
SQUARE = [[10, 5], [30, 5], [30, 15], [10, 15]]


def tidied(*quads: object, ignore: bool = False):
    """What is left of quads, each given as eight numbers."""
    words = [Word(tuple(map(float, quad)), str(number), ignore) for number, quad in enumerate(quads)]
    return tidy_words(WordAnnotation(Path("a"), (WIDTH, HEIGHT), words))


def test_the_format_is_found_out(tmp_path: Path):
    root = icdar(tmp_path, {"a": WORD})
    assert WordFolder(str(root), "train").format == "ICDAR"
    write(root / "gt/a.gt", "0 0 10 5 20 10 0")
    data = WordFolder(root, "train")
    assert (data.format, data[0].texts) == ("MSRA-TD500", [""])
    torch.testing.assert_close(data[0].quads[0], torch.tensor(SQUARE).float())
    assert WordFolder(root, "train", format="icdar")[0].texts == ["Taxi"]
    fails(root, "format must be one of auto, icdar, td500, got 'json'", format="json")


def test_unknown_folders(tmp_path: Path):
    fails(tmp_path / "nowhere", "nowhere does not exist or is not a folder")
    fails(tmp_path, "train.txt does not exist")
    image(tmp_path / "images/a.png")
    write(tmp_path / "train.txt", "a")
    fails(tmp_path, "holds no words of the split 'train' in a known format", "gt_<id>.txt", "<id>.gt")
    fails(tmp_path, "gt_a.txt is missing; a photo without words has an empty file", format="icdar")
    for split in ("../train", "/etc/passwd", "..", "", "a\\b"):
        fails(tmp_path, "a split is named by a plain word", split=split)
    (tmp_path / "val").mkdir()
    fails(tmp_path, "val holds no photos of the split 'val'", split="val")


def test_samples_are_as_written(tmp_path: Path):
    data = WordFolder(icdar(tmp_path, {"a": f"{WORD}\n0,0,9,0,9,8,0,8,###\n", "b": ""}), "train")
    sample = data[0]
    assert (sample.image.dtype, tuple(sample.image.shape)) == (torch.uint8, (3, HEIGHT, WIDTH))
    assert (sample.quads.dtype, sample.ignore.dtype) == (torch.float32, torch.bool)
    assert sample.quads.tolist() == [SQUARE, [[0, 0], [9, 0], [9, 8], [0, 8]]]
    assert (sample.ignore.tolist(), sample.texts, sample.name) == ([False, True], ["Taxi", "###"], "a")
    with Image.open(tmp_path / "images/a.png") as photo:
        assert photo.getpixel((7, 3)) == tuple(sample.image[:, 3, 7].tolist())
    assert [tuple(part.shape) for part in data[1][1:3]] == [(0, 4, 2), (0,)]
    assert (len(data), data.image_size(0), data.names) == (2, (HEIGHT, WIDTH), ["a", "b"])
    assert data.describe() == "2 images, 2 words (1 of them ignored), read as ICDAR"


def test_odd_quads_are_counted(tmp_path: Path):
    lines = [
        WORD,
        "10,5,10,15,30,15,30,5,counter-clockwise",
        "10,5,30,15,30,5,10,15,bow tie",
        "10,5,20,5,30,5,15,5,a line",
        "7,7,7,7,7,7,7,7,a point",
        "61,5,80,5,80,15,61,15,outside",
        "50,5,80,5,80,15,50,15,partly outside",
    ]
    data = WordFolder(icdar(tmp_path, {"a": "\n".join(lines), "b": "10,5,10,15,30,15,30,5,x"}), "train")
    quads, ignore, texts = data.truth(0)
    assert texts == ["Taxi", "counter-clockwise", "bow tie", "a line", "a point", "partly outside"]
    assert ignore.tolist() == [False, False, True, True, True, False]
    assert quads[:3].tolist() == [SQUARE] * 3
    assert quads[5].tolist() == [[50, 5], [80, 5], [80, 15], [50, 15]]
    assert data.describe() == (
        "2 images, 7 words (3 of them ignored), read as ICDAR, 2 quads turned clockwise, "
        "1 quad ignored as self-crossing, 2 quads ignored as without area, 1 quad dropped as outside the image"
    )


def test_the_first_corner_stays_the_first():
    # A word written upwards begins at its lower left.
    upwards = [20, 30, 20, 10, 30, 10, 30, 30]
    truth, repairs = tidied(upwards, [*upwards[:2], *upwards[6:], *upwards[4:6], *upwards[2:4]])
    assert truth.quads[0].tolist() == truth.quads[1].tolist() == [[20, 30], [20, 10], [30, 10], [30, 30]]
    assert repairs == (1, 0, 0, 0)


def test_small_words_have_an_area_far_from_the_corner():
    words = [Word((9e5, 9e5, 9e5 + 4, 9e5, 9e5 + 4, 9e5 + 2, 9e5, 9e5 + 2), "", False)]
    truth, repairs = tidy_words(WordAnnotation(Path("a"), (10**6, 10**6), words))
    assert (truth.ignore.tolist(), sum(repairs)) == ([False], 0)


coordinate = st.floats(-100, 160, width=32) | st.sampled_from([0.0, 40.0, 60.0, 1e6, -1e6, 1e-30, 20.0])


@given(st.lists(st.tuples(*[coordinate] * 8), max_size=8), st.booleans())
@settings(max_examples=80, deadline=None)
def test_what_counts_is_a_polygon_in_the_photo(quads: list[tuple[float, ...]], ignore: bool):
    truth, repairs = tidied(*quads, ignore=ignore)
    assert truth.quads.shape == (len(truth.texts), 4, 2)
    assert truth.quads.isfinite().all()
    assert len(truth.texts) + repairs.outside == len(quads)
    assert int(truth.ignore.sum()) >= repairs.crossed + repairs.flat
    for quad, ignored, text in zip(truth.quads, truth.ignore.tolist(), truth.texts, strict=True):
        given_corners = torch.tensor(quads[int(text)]).reshape(4, 2)
        assert {*map(tuple, quad.tolist())} == {*map(tuple, given_corners.tolist())}
        assert quad[0].tolist() == given_corners[0].tolist()
        assert (quad.amax(0) > 0).all()
        assert (quad.amin(0) < torch.tensor([WIDTH, HEIGHT])).all()
        if not ignored:
            assert signed_area(quad) > 0


@given(st.lists(st.tuples(*[st.integers(0, 12)] * 8), max_size=12))
@settings(max_examples=100, deadline=None)
def test_what_is_crossed_or_flat_is_what_shapely_says(quads: list[tuple[int, ...]]):
    truth, repairs = tidied(*[[number + 1 for number in quad] for quad in quads])
    corners = [list(zip(quad[::2], quad[1::2], strict=True)) for quad in quads]
    lines = [[LineString([quad[k - 1], quad[k]]) for k in range(4)] for quad in corners]
    crossed = [one.crosses(three) or two.crosses(four) for one, two, three, four in lines]
    flat = [not cross and Polygon(quad).area == 0 for cross, quad in zip(crossed, corners, strict=True)]
    areas = [signed_area(torch.tensor(quad)) for quad in corners]
    turned = [not cross and area < 0 for cross, area in zip(crossed, areas, strict=True)]
    for quad, area in zip(corners, areas, strict=True):
        if Polygon(quad).is_valid and area:
            assert LinearRing(quad).is_ccw == (area > 0)  # y upwards there; of rings that touch themselves it may err
    assert repairs == (sum(turned), sum(crossed), sum(flat), 0)
    assert truth.ignore.tolist() == [one or other for one, other in zip(crossed, flat, strict=True)]
    for quad, cross in zip(truth.quads, crossed, strict=True):
        if cross:  # untangled
            assert Polygon(quad.tolist()).is_valid or abs(signed_area(quad)) < 1e-6


def signed_area(quad: torch.Tensor) -> float:
    """By the shoelace, positive when clockwise on the screen."""
    x, y = quad.double().unbind(-1)
    return float((x * y.roll(-1) - y * x.roll(-1)).sum()) / 2


def test_bad_samples_raise_or_are_left_out(tmp_path: Path):
    files = {"a": WORD, "b": "1,2,3\n", "c": WORD, "d": WORD, "e": WORD}
    root = icdar(tmp_path, files)
    (root / "images/c.png").unlink()
    (root / "gt/gt_d.txt").unlink()
    write(root / "images/e.png", (root / "images/e.png").read_bytes()[:2000])
    fails(root, "gt_b.txt, line 1")
    with pytest.warns(UserWarning, match="4 of 5 samples left out"):
        data = WordFolder(root, "train", skip_bad=True)
    assert data.names == ["a"]
    parts = ["gt_b.txt, line 1", "images/c is missing", "gt_d.txt is missing", "e.png is damaged"]
    assert all(part in message for part, message in zip(parts, data.skipped, strict=True))
    assert data.describe() == "1 image, 1 word, read as ICDAR, 4 left out"
    write(root / "train.txt", "b\nc\n")
    fails(root, "all samples of the split 'train' are bad, first:", "gt_b.txt", skip_bad=True)


def test_nothing_skipped_gives_no_warning(tmp_path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert WordFolder(icdar(tmp_path, {"a": WORD}), "train", skip_bad=True).skipped == []


def test_pixels_are_read_when_asked_for_and_kept_within_bounds(tmp_path: Path):
    root = icdar(tmp_path, dict.fromkeys("abc", WORD))
    data = WordFolder(root, "train", cache_bytes=2 * HEIGHT * WIDTH * 3)
    samples = [data[index] for index in range(3)]
    for path in (root / "images").iterdir():
        path.unlink()
    for index in (0, 1):  # in memory, and not the very arrays that were handed out
        samples[index].image.zero_()
        samples[index].quads.zero_()
        samples[index].texts.clear()
        assert data[index].image.any()
        assert data[index].quads.tolist() == [SQUARE]
        assert data[index].texts == ["Taxi"]
    with pytest.raises(DataError, match=r"c\.png does not exist"):
        data[2]
    assert data.truth(2).quads.tolist() == [SQUARE]


def test_an_image_that_changed_its_size_is_told_of(tmp_path: Path):
    data = WordFolder(icdar(tmp_path, {"a": WORD}), "train")
    image(tmp_path / "images/a.png", 30, 20)
    with pytest.raises(DataError, match=r"a\.png has 30x20 pixels; its header said 60x40"):
        data[0]


@pytest.mark.parametrize("pattern", ["gt/gt_{}.txt", "gt/{}.txt", "labels/gt_{}.txt", "images/{}.txt"])
def test_places_of_the_text_files(tmp_path: Path, pattern: str):
    root = icdar(tmp_path, {"a.v2": WORD}, pattern)
    assert WordFolder(root, "train")[0].texts == ["Taxi"]
    write(root / "train.txt", "images/a.v2.png\n")
    assert WordFolder(root, "train").names == ["a.v2"]


def test_splits_that_are_folders(tmp_path: Path):
    image(tmp_path / "images/train/deep/a.png")
    image(tmp_path / "images/val/a.png")
    write(tmp_path / "gt/train/deep/gt_a.txt", WORD)
    write(tmp_path / "gt/val/gt_a.txt", WORD.replace("Taxi", "Bus"))
    assert WordFolder(tmp_path, "train").truth(0).texts == ["Taxi"]
    assert WordFolder(tmp_path, "val").truth(0).texts == ["Bus"]
    assert WordFolder(td500(tmp_path / "2", {"a": "0 0 1 1 9 9 0"}, "test"), "test").names == ["a"]
    image(tmp_path / "3/a.png")
    write(tmp_path / "3/gt_a.txt", WORD)
    write(tmp_path / "3/train.txt", "a")
    assert WordFolder(tmp_path / "3", "train").truth(0).texts == ["Taxi"]


def test_sample():
    train, val = WordFolder(SAMPLE, "train"), WordFolder(SAMPLE, "val")
    assert train.describe() == "24 images, 375 words (205 of them ignored), read as ICDAR"
    assert val.describe() == "8 images, 109 words (60 of them ignored), read as ICDAR"
    assert not set(train.names) & set(val.names)
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*")) < 2e6
    assert tuple(val[0].image.shape) == (3, 360, 640)
    note = (SAMPLE / "README.md").read_text()
    assert all(part in note for part in ("CC BY 4.0", "Karatzas", "Changes:", "| 375 | 205 |", "| 109 | 60 |"))


@needs_shared
def test_sample_is_what_its_script_makes(tmp_path: Path):
    source = SHARED / "icdar2015_text"
    spec = importlib.util.spec_from_file_location("make_icdar2015", SAMPLE.parent / "make_icdar2015.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for split in ("train", "val"):
        assert script.choose(source, split) == (SAMPLE / f"{split}.txt").read_text().split()
    script.TAKE = {"val": 2}
    script.main(source, tmp_path)
    made, whole = WordFolder(tmp_path, "val"), WordFolder(source, "val")
    for index, name in enumerate(made.names):
        truth, original = made.truth(index), whole.truth(whole.names.index(name))
        assert torch.equal(truth.quads * 2, original.quads)
        assert (truth.texts, truth.ignore.tolist()) == (original.texts, original.ignore.tolist())
        if (SAMPLE / "gt" / f"gt_{name}.txt").exists():
            assert (tmp_path / "gt" / f"gt_{name}.txt").read_bytes() == (SAMPLE / "gt" / f"gt_{name}.txt").read_bytes()


@needs_shared
def test_street_photos():
    train, val = (WordFolder(SHARED / "icdar2015_text", split) for split in ("train", "val"))
    assert train.describe() == "200 images, 2018 words (1192 of them ignored), read as ICDAR"
    assert val.describe() == "40 images, 404 words (232 of them ignored), read as ICDAR"
    assert tuple(val[0].image.shape) == (3, 720, 1280)
