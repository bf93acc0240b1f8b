"""Segmentation folders: lists and files that are wrong give one clear error, or are left out when asked."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_folders import COLORS, RNG, build, fails, paint, save, two
from matchloss.recipes.data import DataError, SegmentationFolder


def test_list_forms(tmp_path: Path):
    root = build(tmp_path, {"b.v2": two(0, 255), "a": two(0), "deep/c": two(0)}, folder="labels")
    (root / "images/a.png").rename(root / "images/a.PNG")
    (root / "train.txt").write_text("\ufeff# choice\n\n  b.v2  \na.JPG\r\ndeep/c.png\n", encoding="utf-8")
    assert SegmentationFolder(root, "train").names == ["b.v2", "a", "deep/c"]
    assert SegmentationFolder(str(root), "train.txt")[-2].name == "a"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a\nb\na\n", ["'a' twice", "lines 1 and 3"]),
        ("# nothing\n\n", ["lists no images"]),
        ("a\n../a\n", ["line 2", "'../a' points outside"]),
        ("sub/../../a\n", ["points outside"]),
        ("/etc/a.png\n", ["points outside"]),
        ("C:\\a.png\n", ["points outside"]),
        ("..\\a.png\n", ["points outside"]),
        ("a\nnone.png\n", ["images/none is missing", "line 2"]),
        ("a.png\na.jpg\n", ["image 'a' is listed twice", "'a.png' (line 1) and 'a.jpg' (line 2)"]),
        (b"\xff\xfea\n", ["train.txt cannot be read as UTF-8"]),
    ],
)
def test_bad_lists(tmp_path: Path, text: str | bytes, parts: list[str]):
    root = build(tmp_path, {"a": two(0), "b": two(0)})
    (root / "train.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    fails(root, *parts)


def test_bad_folders(tmp_path: Path):
    fails(tmp_path / "nowhere", "nowhere does not exist")
    root = build(tmp_path / "data", {"a": two(0)})
    (root / "val.txt").write_text("a\n")
    with pytest.raises(DataError, match=r"test\.txt does not exist; split lists in this folder: train, val"):
        SegmentationFolder(root, "test")
    for split in ("../data/train", "/etc/passwd", "..", ""):
        with pytest.raises(DataError, match="named by a plain word"):
            SegmentationFolder(root, split)
    (root / "labels").mkdir()
    fails(root, "data/labels", "data/masks", "are both there")
    (root / "labels").rmdir()
    (root / "masks").rename(root / "gone")
    fails(root, "no folder labels/ or masks/")
    (root / "gone").rename(root / "masks")
    (root / "images").rename(root / "gone")
    fails(root, "images does not exist")


# Files


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def break_files(root: Path, kind: str) -> str:
    """Spoil sample "b" in one way; what the message must hold."""
    image, mask = root / "images/b.png", root / "masks/b.png"
    noise = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    if kind == "image truncated":
        truncate(save(image, noise))
        save(mask, np.zeros((40, 60), np.uint8))
        return "images/b.png is damaged"
    if kind == "mask truncated":
        save(image, noise)
        truncate(save(mask, noise[..., 0] // 128 * 255))
        return "masks/b.png is damaged"
    if kind == "size":
        save(mask, np.zeros((6, 4), np.uint8))
        return f"{mask} has 4x6 pixels, its image {image} 6x4"
    if kind == "not an image":
        image.write_text("<html>404</html>")
        return "images/b.png is not an image"
    if kind == "empty":
        mask.write_bytes(b"")
        return "masks/b.png is not an image"
    if kind == "two images":
        image.with_suffix(".jpg").write_bytes(image.read_bytes())
        return "images/b.jpg and b.png both stand for 'b'"
    if kind == "pages":
        frames = [Image.fromarray(noise), Image.fromarray(255 - noise)]
        frames[0].save(image, format="TIFF", save_all=True, append_images=frames[1:])
        return "images/b.png holds 2 pages"
    if kind == "NaN":
        save(image, np.full((4, 6), np.nan, np.float32), format="TIFF")
        return "images/b.png holds NaN"
    (image if kind == "no image" else mask).unlink()
    return f"{'images' if kind == 'no image' else 'masks'}/b is missing"


KINDS = ["image truncated", "mask truncated", "size", "not an image", "empty", "two images", "pages", "NaN", "no image",
         "no mask"]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("declared", [True, False])
def test_bad_files_raise_or_are_left_out(tmp_path: Path, kind: str, declared: bool):
    # "b" first: without a declaration, it is the mask that the guess would look at.
    root = build(
        tmp_path, {"b": two(0, 255), "a": two(0, 255), "c": two(0, 255)}, {"format": "instances"} if declared else None
    )
    part = break_files(root, kind)
    fails(root, part)
    with pytest.warns(UserWarning, match="1 of 3 samples left out") as caught:
        data = SegmentationFolder(root, "train", skip_bad=True)
    assert len(caught) == 1
    assert data.names == ["a", "c"]
    assert len(data.skipped) == 1
    assert part in data.skipped[0]
    assert "2 images" in data.describe()
    assert data.describe().endswith("1 left out")
    assert data[1].labels.flatten().tolist() == [0] + [1] * 23
    (root / "train.txt").write_text("b\n")
    fails(root, "all samples of the split 'train' are bad", part, skip_bad=True)


def test_skip_bad_leaves_out_unknown_colours_and_double_listing(tmp_path: Path):
    root = build(tmp_path, {"a": paint("3C1098"), "b": paint("123456"), "c": paint("6EC1E4")}, COLORS)
    (root / "train.txt").write_text("a\nb\nc\nc.png\n")
    with pytest.warns(UserWarning, match="2 of 3"):
        data = SegmentationFolder(root, "train", skip_bad=True)
    assert data.names == ["a"]
    assert "listed twice" in data.skipped[0]
    assert "#123456" in data.skipped[1]


def test_nothing_skipped_gives_no_warning(tmp_path: Path):
    root = build(tmp_path, {"a": two(0, 255)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert SegmentationFolder(root, "train", skip_bad=True).skipped == []


def test_decompression_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = build(tmp_path, {"a": two(0, 255)})
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 11)  # Pillow refuses above twice its limit
    fails(root, "images/a.png", "decompression bomb")


def test_no_damage_raises_anything_but_data_error(tmp_path: Path):
    noise = RNG.integers(0, 256, (24, 24, 3), dtype=np.uint8)
    root = build(tmp_path, {"a": np.zeros((24, 24), np.uint8)})
    rng, messages = np.random.default_rng(0), []
    for kind in ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "PPM"):
        whole = save(tmp_path / "whole", noise, format=kind).read_bytes()
        for _ in range(60):
            broken = bytearray(whole[: rng.integers(1, len(whole) + 1)])
            for place in rng.integers(0, min(len(broken), 200), 3):
                broken[place] = rng.integers(256)
            (root / "images/a.png").write_bytes(broken)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # Pillow's own remarks on what it finds
                    assert SegmentationFolder(root, "train")[0].image.shape == (3, 24, 24)
            except DataError as error:
                messages.append(str(error))
    assert len(messages) > 100
    assert all("images/a.png" in message for message in messages)


def test_file_that_changes_after_the_check(tmp_path: Path):
    root = build(tmp_path, {"a": two(0, 255)})
    data = SegmentationFolder(root, "train")
    save(root / "images/a.png", np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(DataError, match="expected equal sizes"):
        data[0]
    (root / "images/a.png").unlink()
    with pytest.raises(DataError, match="does not exist"):
        data[0]
