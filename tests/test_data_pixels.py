"""Pixels of images: every mode and orientation, damage, and the cache."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from data_folders import RNG, build, fails, save, two
from matchloss.recipes.data import DataError, SegmentationFolder


def read_one(root: Path) -> np.ndarray:
    return SegmentationFolder(root, "train")[0].image.numpy().transpose(1, 2, 0)


def test_image_modes(tmp_path: Path):
    root = build(tmp_path, {"a": two(0, 255)})
    rgb = RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8)
    path = root / "images/a.png"
    save(path, np.concatenate([rgb, np.zeros((4, 6, 1), np.uint8)], axis=2))  # transparent everywhere
    np.testing.assert_array_equal(read_one(root), rgb)
    save(path, rgb[..., 0])
    np.testing.assert_array_equal(read_one(root), np.repeat(rgb[..., :1], 3, 2))
    Image.fromarray(rgb).quantize(256).save(path)
    np.testing.assert_array_equal(read_one(root), rgb)
    Image.fromarray(rgb).convert("CMYK").save(path, format="TIFF")
    assert np.abs(read_one(root).astype(int) - rgb).max() <= 2


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (two(0, 257, 32768, 65535, dtype=np.uint16), [0, 1, 128, 255]),
        (two(0, 100, 4000, dtype=np.uint16), [0, 6, 255]),  # a 12-bit camera keeps its grey levels
        (two(0, 7, 200, dtype=np.uint16), [0, 7, 200]),
        (two(0, 35000, 70000, dtype=np.int32), [0, 128, 255]),
        (two(0, 1).astype(np.float32), [0, 255]),
        (two(0, 0).astype(np.float32), [0, 0]),
    ],
)
def test_wide_greys_are_scaled_not_clipped(tmp_path: Path, values: np.ndarray, expected: list[int]):
    root = build(tmp_path, {"a": two(0, 255)})
    (root / "images/a.png").unlink()
    save(root / "images/a.tif", values)
    assert read_one(root)[..., 1].flatten().tolist()[: len(expected)] == expected


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_exif_orientation(tmp_path: Path, orientation: int, suffix: str):
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8] = 250  # two unlike corners tell all eight orientations apart
    upright[:8, 16:] = 120
    stored = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
              5: upright.transpose(1, 0, 2), 6: np.rot90(upright, 1), 7: upright[::-1, ::-1].transpose(1, 0, 2),
              8: np.rot90(upright, -1)}[orientation]  # fmt: skip
    root = build(tmp_path, {"a": np.zeros((16, 24), np.uint8)})
    (root / "images/a.png").unlink()
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(
        root / f"images/a.{suffix}",
        np.ascontiguousarray(stored),
        exif=exif,
        **({"quality": 100} if suffix == "jpg" else {}),
    )
    assert np.abs(read_one(root).astype(int) - upright).max() < 12


def test_wrong_size_is_told_as_displayed(tmp_path: Path):
    root = build(tmp_path, {"a": np.zeros((16, 24), np.uint8)})
    exif = Image.Exif()
    exif[0x0112] = 6
    save(root / "images/a.png", np.zeros((16, 24, 3), np.uint8), exif=exif)
    fails(root, "24x16 pixels", "16x24")


def test_building_decodes_no_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = build(tmp_path, {"a": two(0, 9, dtype=np.uint16)})
    with monkeypatch.context() as patch:
        patch.setattr(PngImagePlugin.PngImageFile, "load", None)
        data = SegmentationFolder(root, "train")
        save(root / "images/a.png", np.zeros((9, 9, 3), np.uint8))
        with pytest.raises(DataError, match="expected equal sizes"):
            SegmentationFolder(root, "train")
    save(root / "images/a.png", np.zeros((4, 6, 3), np.uint8))
    assert data[0].labels.sum() == 23


# Cache


def test_cache_is_bounded_and_not_aliased(tmp_path: Path):
    root = build(tmp_path, {name: two(0, 255) for name in "abc"})
    one = 4 * 6 * (3 + 1)  # bytes of a sample: RGB and one byte a label
    data = SegmentationFolder(root, "train", cache_bytes=2 * one + 1)
    first = [data[index] for index in range(3)]
    kept = [(sample.image.clone(), sample.labels.clone()) for sample in first]
    for sample in first:
        sample.image.zero_()
        sample.labels.zero_()
    for path in (root / "images").iterdir():
        path.unlink()
    for index in range(2):
        again = data[index]
        assert torch.equal(again.image, kept[index][0])
        assert torch.equal(again.labels, kept[index][1])
    with pytest.raises(DataError, match=r"c\.png does not exist"):
        data[2]


def test_works_in_loader_workers(tmp_path: Path):
    root = build(tmp_path, {name: two(0, 255) for name in "abc"})
    data = pickle.loads(pickle.dumps(SegmentationFolder(root, "train")))
    loader = torch.utils.data.DataLoader(data, batch_size=None, num_workers=1)
    assert [sample.name for sample in loader] == ["a", "b", "c"]
    (root / "images/b.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        data[1]
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # how a worker hands it over
