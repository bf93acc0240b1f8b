"""What masks mean: the right labels or one clear error, never a wrong label in silence."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image

from data_folders import COLORS, RNG, build, fails, paint, save, two
from matchloss.recipes.data import SegmentationFolder


@pytest.mark.parametrize(
    ("mask", "classes", "expected", "line"),
    [
        (two(0, 7, 300, dtype=np.uint16), None, [0, 1, 1], "(background, foreground), masks read as instances"),
        (two(0, 7, 70000, dtype=np.int32), None, [0, 1, 1], "masks read as instances"),
        (two(0, 255), None, [0, 1], "masks read as binary"),
        (two(0, 1), None, [0, 1], "masks read as binary"),
        (two(0, 1).astype(bool), None, [0, 1], "masks read as binary"),
        (two(0, 0), None, [0, 0], "masks read as binary"),
        (two(0, 3, 9), {"format": "instances", "classes": ["rest", "cell"]}, [0, 1, 1], "2 classes (rest, cell)"),
        (two(0, 3, 9), {"format": "instances", "ignore": [9]}, [0, 1, -100], "masks read as instances"),
        (two(2, 0, 1, 255), {"format": "indices", "classes": ["a", "b", "c"], "ignore": [255]}, [2, 0, 1, -100],
         "1 image, 3 classes (a, b, c), masks read as indices"),
        (paint("3C1098", "6EC1E4", "000000"), COLORS, [0, 1, -100], "2 classes (building, road), masks read as colors"),
    ],
)  # fmt: skip
def test_values_become_classes(tmp_path: Path, mask: np.ndarray, classes: object, expected: list[int], line: str):
    if mask.dtype == np.int32:  # PNG has no 32-bit grey
        build(tmp_path, {"a": two(0)}, classes)
        (tmp_path / "masks/a.png").unlink()
        save(tmp_path / "masks/a.tiff", mask)
    else:
        build(tmp_path, {"a": mask}, classes)
    data = SegmentationFolder(tmp_path, "train")
    sample = data[0]
    assert sample.labels.dtype == torch.int64
    assert sample.labels.shape == (4, 6)
    assert sample.labels.flatten().tolist() == expected + [expected[-1]] * (24 - len(expected))
    assert line in data.describe()
    assert (sample.image.dtype, sample.image.shape, sample.name) == (torch.uint8, (3, 4, 6), "a")


@given(colors=st.lists(st.integers(0, 2**24 - 1), min_size=3, max_size=9, unique=True), data=st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_colour_table_reads_back(tmp_path: Path, colors: list[int], data: st.DataObject):
    *used, ignored = [f"#{color:06X}" for color in colors]
    picks = data.draw(st.lists(st.integers(0, len(colors) - 1), min_size=24, max_size=24))
    mask = np.array([list(int.to_bytes(colors[pick], 3, "big")) for pick in picks], np.uint8).reshape(4, 6, 3)
    table = {"format": "colors", "classes": {f"c{i}": color for i, color in enumerate(used)}, "ignore": [ignored]}
    build(tmp_path, {"a": mask}, table)
    expected = [-100 if pick == len(used) else pick for pick in picks]
    assert SegmentationFolder(tmp_path, "train")[0].labels.flatten().tolist() == expected
    alpha = RNG.integers(0, 256, (4, 6, 1), dtype=np.uint8)
    save(tmp_path / "masks/a.png", np.concatenate([mask, alpha], axis=2))
    assert SegmentationFolder(tmp_path, "train")[0].labels.flatten().tolist() == expected


def test_palette_masks_as_colours_and_as_indices(tmp_path: Path):
    build(tmp_path, {"a": two(0)}, COLORS)
    palette = Image.frombytes("P", (6, 4), two(5, 2).tobytes())
    colors = [0] * 768
    colors[15:18], colors[6:9] = bytes.fromhex("6EC1E4"), bytes.fromhex("3C1098")
    palette.putpalette(colors)
    palette.save(tmp_path / "masks/a.png", transparency=bytes([255, 0, 90]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow warns when such a palette is turned into RGB directly
        assert SegmentationFolder(tmp_path, "train")[0].labels.flatten().tolist() == [1] + [0] * 23
    (tmp_path / "classes.json").write_text(json.dumps({"format": "indices", "classes": list("abcdef")}))
    assert SegmentationFolder(tmp_path, "train")[0].labels.flatten().tolist() == [5] + [2] * 23
    (tmp_path / "classes.json").unlink()
    fails(tmp_path, "a.png has mode P", "write a classes.json")


def test_more_than_255_classes(tmp_path: Path):
    names = [f"c{index}" for index in range(300)]
    build(tmp_path, {"a": two(0, 255, 256, 299, 999, dtype=np.uint16)},
          {"format": "indices", "classes": names, "ignore": [999]})  # fmt: skip
    assert SegmentationFolder(tmp_path, "train")[0].labels.flatten().tolist()[:5] == [0, 255, 256, 299, -100]


def test_unclear_masks_ask_for_a_declaration(tmp_path: Path):
    message = fails(build(tmp_path / "1", {"a": two(0, 1, 255)}), "masks/a.png", "0, 1, 255", "write a classes.json")
    assert len(message.splitlines()) == 1 + 3  # a sentence and its example
    json.loads(message[message.index("{") :])
    message = fails(build(tmp_path / "2", {"a": paint("3C1098")}), "masks/a.png has mode RGB", '"format": "colors"')
    json.loads(message[message.index("{") :])
    # The second mask's 255 most likely means "ignore": each alone would pass. Leaving it out would hide that.
    apart = build(tmp_path / "3", {"a": two(0, 0), "b": two(0, 1), "c": two(0, 255)})
    for skip_bad in (False, True):
        fails(apart, "masks/c.png", "value 255, 23 pixels, the first at (x=1, y=0)", "classes.json", skip_bad=skip_bad)
    fails(build(tmp_path / "4", {"a": two(0, 9, dtype=np.uint16), "b": two(0, 255)}), "masks/b.png has mode L")
    fails(build(tmp_path / "5", {"a": two(0, 1), "b": two(0, 1, dtype=np.uint16)}), "masks/b.png has mode I;16")


def test_unknown_values_and_colours(tmp_path: Path):
    mask = paint("3C1098")
    mask[1, 4], mask[2, 0], mask[3, 3] = (1, 2, 171), (1, 2, 171), (9, 9, 9)
    fails(
        build(tmp_path / "1", {"a": mask}, COLORS), "masks/a.png", "colour #0102AB", "2 pixels", "(x=4, y=1)", "1 more"
    )
    table = {"format": "indices", "classes": ["a", "b"]}
    fails(build(tmp_path / "2", {"a": two(0, 1, 7)}, table), "masks/a.png", "value 7", "22 pixels", "(x=2, y=0)")
    negative = build(tmp_path / "3", {"a": two(0)}, {"format": "instances"})
    (negative / "masks/a.png").unlink()
    save(negative / "masks/a.tif", two(0, -1, 3, dtype=np.int32))
    fails(negative, "masks/a.tif", "value -1", "1 pixels")


def test_masks_in_a_form_that_loses_values(tmp_path: Path):
    root = build(tmp_path, {"a": two(0)}, {"format": "instances"})
    save(root / "masks/a.png", paint("000000"))
    fails(root, "masks/a.png has mode RGB")
    save(root / "masks/a.png", two(0).astype(np.float32), format="TIFF")
    fails(root, "masks/a.png has mode F")
    (root / "masks/a.png").unlink()
    save(root / "masks/a.jpg", two(0, 255))
    fails(root, "masks/a.jpg is in a lossy format")
    save(root / "masks/a.jpg", two(0, 255), format="WEBP", lossless=False)
    fails(root, "masks/a.jpg is in a lossy format")
    save(root / "masks/a.jpg", two(0, 255), format="TIFF", compression="jpeg")
    fails(root, "masks/a.jpg is in a lossy format")
    (root / "classes.json").write_text(json.dumps(COLORS))
    (root / "masks/a.jpg").unlink()
    save(root / "masks/a.png", two(0, 9, dtype=np.uint16))
    fails(root, "masks/a.png has mode I;16", "colours")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "cannot be read as JSON"),
        ("[" * 100000, "cannot be read as JSON"),
        ('{"format": "indices", "format": "colors"}', "twice"),
        ("[]", "expected an object"),
        ('{"classes": ["a", "b"]}', "expected an object"),
        ('{"format": "indices", "classes": ["a", "b"], "ingore": [255]}', "expected an object"),
        ('{"format": "rgb", "classes": ["a", "b"]}', "got 'rgb'"),
        ('{"format": ["rgb"]}', "got ['rgb']"),
        ('{"format": "indices", "classes": ["a", "b"], "ignore": 255}', "must be a list, got 255"),
        ('{"format": "indices", "classes": ["a", "b"], "ignore": ["255"]}', "got ['255']"),
        ('{"format": "instances", "ignore": [true]}', "got [True]"),
        ('{"format": "indices", "classes": ["a", "b"], "ignore": [1]}', "that no class has"),
        ('{"format": "instances", "ignore": [0]}', "that no class has"),
        ('{"format": "indices", "classes": ["a", "a"]}', "two or more different names"),
        ('{"format": "indices", "classes": ["a"]}', "two or more"),
        ('{"format": "indices", "classes": ["a", 3]}', "must hold names"),
        ('{"format": "indices"}', "two or more"),
        ('{"format": "instances", "classes": ["a", "b", "c"]}', "got 3"),
        ('{"format": "colors", "classes": ["a", "b"]}', "two or more names a colour"),
        ('{"format": "colors", "classes": {"a": "#12345", "b": "#000000"}}', "got '#12345'"),
        ('{"format": "colors", "classes": {"a": [1, 2, 3], "b": "#000000"}}', "got [1, 2, 3]"),
        ('{"format": "colors", "classes": {"a": "#ffffff", "b": "#FFFFFF"}}', "#FFFFFF is given twice"),
        (
            '{"format": "colors", "classes": {"a": "#000001", "b": "#000002"}, "ignore": ["#000001"]}',
            "#000001 is given",
        ),
        ('{"format": "colors", "classes": {"a": "#000001", "a": "#000002"}}', "twice"),
    ],
)
def test_bad_class_files(tmp_path: Path, text: str, part: str):
    build(tmp_path, {"a": two(0)})
    (tmp_path / "classes.json").write_text(text)
    fails(tmp_path, "classes.json", part)


def test_given_class_file_wins_and_must_exist(tmp_path: Path):
    root = build(tmp_path, {"a": two(0, 1)}, COLORS)
    other = tmp_path / "other.json"
    fails(root, "other.json", classes=other)
    other.write_text('{"format": "indices", "classes": ["x", "y"]}')
    assert SegmentationFolder(root, "train", classes=other).classes == ["x", "y"]
