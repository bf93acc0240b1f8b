"""YOLO txt: fractions become pixels, names and label folders are found, wrong lines are named."""

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st

from box_folders import HEIGHT, SHARED, WIDTH, fails, image, needs_shared, write, yolo
from matchloss.recipes.data import BoxFolder


def test_fractions_become_pixels(tmp_path: Path):
    data = BoxFolder(yolo(tmp_path, {"a": "1 0.5 0.25 0.2 0.5\r\n\r\n0.0 .5 .5 1 1\r\n", "b": None, "c": ""}), "train")
    assert data[0].boxes.tolist() == [[24, 0, 36, 20], [0, 0, 60, 40]]
    assert data[0].labels.tolist() == [1, 0]
    assert not data[0].ignore.any()
    assert len(data[1].labels) == len(data[2].labels) == 0
    assert data.describe() == "3 images, 2 classes (cell, dust), 2 boxes, read as YOLO"
    write(tmp_path / "labels/c.txt", b"\xef\xbb\xbf1 0.5 0.5 0.5 0.5")
    assert BoxFolder(tmp_path, "train")[2].labels.tolist() == [1]


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=8))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_boxes_read_back(tmp_path: Path, boxes: list[tuple[float, ...]]):
    lines = [f"0 {(x1 + x2) / 2!r} {(y1 + y2) / 2!r} {x2 - x1!r} {y2 - y1!r}\n" for x1, y1, x2, y2 in boxes]
    data = BoxFolder(yolo(tmp_path, {"a": "".join(lines)}), "train")
    scaled = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4) * torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])
    sides = scaled[:, 2:] - scaled[:, :2]
    assert len(data.truth(0).labels) + data.repairs.empty + data.repairs.outside == len(boxes)
    found = data.truth(0).boxes.double()
    for row in found:
        assert (scaled - row).abs().amax(1).min() < 1e-4
    for row in scaled[(sides > 1e-2).all(1)]:
        assert (found - row).abs().amax(1).min() < 1e-4


def test_polygons_give_their_bounding_box(tmp_path: Path):
    data = BoxFolder(yolo(tmp_path, {"a": "1 0.5 0.1 0.9 0.5 0.5 0.9 0.1 0.5\n0 0 0 0.5 0 0.5 0.5"}), "train")
    torch.testing.assert_close(data[0].boxes, torch.tensor([[6.0, 4, 54, 36], [0, 0, 30, 20]]))


def test_folders_of_a_split(tmp_path: Path):
    for split, name in (("train", "a"), ("val", "b/c")):
        image(tmp_path / f"images/{split}/{name}.png")
        write(tmp_path / f"labels/{split}/{name}.txt", "0 .5 .5 .5 .5")
    write(tmp_path / "classes.txt", "cell\n")
    assert BoxFolder(tmp_path, "train").names == ["a"]
    val = BoxFolder(tmp_path, "val")
    assert val.names == ["b/c"]
    assert val[0].boxes.tolist() == [[15, 10, 45, 30]]
    # A list with paths from the folder on, as other trainers write it.
    write(tmp_path / "train.txt", "./images/train/a.png\n./images/val/b/c.png\n")
    both = BoxFolder(tmp_path, "train")
    assert both.names == ["train/a", "val/b/c"]
    assert len(both[1].labels) == 1


def test_which_label_folder(tmp_path: Path):
    root = yolo(tmp_path, {"a": "0 .5 .5 .5 .5"})
    (root / "labels").rename(root / "labels_box_yolo")
    assert BoxFolder(root, "train")[0].labels.tolist() == [0]
    write(root / "labels_poly_yolo/a.txt", "1 .5 .5 .5 .5")
    assert BoxFolder(root, "train")[0].labels.tolist() == [0]
    (root / "labels_box_yolo").rename(root / "labels_other")
    fails(root, "expected images/ and beside it one folder labels/", "got labels_other, labels_poly_yolo")
    write(root / "labels/a.txt", "1 .5 .5 .5 .5")
    assert BoxFolder(root, "train")[0].labels.tolist() == [1]
    (root / "labels/a.txt").rename(root / "labels/z.txt")
    fails(root, "labels holds no text file of any image of the split 'train'")


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("data.yaml", "path: .\ntrain: images/train\nnc: 2\nnames: [cell, dust]\n", ["cell", "dust"]),
        ("data.yaml", "names:\n  1: dust\n  0: cell\n", ["cell", "dust"]),
        ("data.yaml", "names: [0, 1]\n", ["0", "1"]),
        ("names.json", '["cell", "dust"]', ["cell", "dust"]),
        ("names.json", '{"1": "dust", "0": "cell"}', ["cell", "dust"]),
        ("names_box.json", '{"0": "cell", "1": "dust", "10": "ash"}', ["cell", "dust", "ash"]),
        ("classes.txt", "cell\ndust\n\n", ["cell", "dust"]),
        ("labels/classes.txt", "cell\ndust", ["cell", "dust"]),
    ],
)
def test_names(tmp_path: Path, file: str, content: str, expected: list[str]):
    root = yolo(tmp_path, {"a": "1 .5 .5 .5 .5"})
    (root / "names.json").unlink()
    fails(root, "does not name its classes")
    assert BoxFolder(root, "train", classes=["x", "y"])[0].labels.tolist() == [1]
    write(root / file, content)
    data = BoxFolder(root, "train")
    assert (data.classes, data[0].labels.tolist()) == (expected, [1])
    if expected[0] == "cell":  # other classes go by their names
        assert BoxFolder(root, "train", classes=["dust", "x"])[0].labels.tolist() == [0]


@pytest.mark.parametrize(
    ("file", "content", "part"),
    [
        ("data.yaml", "names: [yes, no]", "the name of class 0 is True; expected text, in quotes"),
        ("data.yaml", "names: [a", "cannot be read"),
        ("data.yaml", "nc: 2", "'nc' is no class id"),
        ("data.yaml", "!!python/object/apply:os.system ['true']", "cannot be read"),
        ("data.yaml", "x: &x [a, a]\nnames: [*x, *x]", "the name of class 0 is of type list"),
        ("names.json", "", "cannot be read"),
        ("names.json", '"cell"', "gives no names"),
        ("names.json", '["a", "a"]', "each of them different"),
        ("names.json", '{"-1": "a"}', "'-1' is no class id"),
        ("names.json", "[]", "one or more names"),
        ("names.json", "[" * 100_000, "cannot be read"),
        ("classes.txt", "", "one or more names"),
        ("classes.txt", b"\xff\xfe", "cannot be read"),
    ],
)
def test_bad_names(tmp_path: Path, file: str, content: str | bytes, part: str):
    root = yolo(tmp_path, {"a": "1 .5 .5 .5 .5"})
    (root / "names.json").unlink()
    write(root / file, content)
    fails(root, file, part)


LINE = "labels/b.txt, line 2"
BAD = {
    "three": ("0 .5 .5 .5", f"{LINE} has 4 fields; expected class cx cy width height"),
    "score": ("0 .5 .5 .5 .5 .9", f"{LINE} has 6 fields"),
    "odd": ("0 .1 .1 .2 .2 .3 .3 .4", f"{LINE} has 8 fields"),
    "NaN": ("0 .5 nan .5 .5", f"{LINE} is 'nan'; expected a finite number"),
    "infinite": ("0 .5 -inf .5 .5", f"{LINE} is '-inf'"),
    "word": ("0 .5 .5 .5 x", f"{LINE} is 'x'"),
    "class": ("2 .5 .5 .5 .5", f"{LINE} has the unknown class '2'; there are 2 classes"),
    "negative": ("-1 .5 .5 .5 .5", "unknown class '-1'"),
    "half": ("0.5 .5 .5 .5 .5", "unknown class '0.5'"),
    "name": ("cell .5 .5 .5 .5", f"{LINE} is 'cell'"),
    "pixels": ("0 .5 320 .5 .5", f"{LINE} holds 320; expected fractions of the image's size, not pixels"),
    "huge": ("0 .5 .5 1e300 .5", f"{LINE} holds 1e+300"),
    "bytes": (b"\xff\xfe\x00", "labels/b.txt cannot be read as UTF-8"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_lines_raise_or_are_left_out(tmp_path: Path, kind: str):
    content, part = BAD[kind]
    good = "0 .5 .5 .5 .5\n"
    root = yolo(tmp_path, {"a": good, "b": good + content if isinstance(content, str) else content, "c": good})
    fails(root, part)
    with pytest.warns(UserWarning, match="1 of 3 samples left out"):
        data = BoxFolder(root, "train", skip_bad=True)
    assert data.names == ["a", "c"]
    assert part in data.skipped[0]


@needs_shared
def test_coco_mini_by_its_text_files():
    data = BoxFolder(SHARED / "coco_mini", "train", format="yolo")
    assert len(data.classes) == 80
    index = data.names.index("000000000030")
    width, height = 640, 428
    assert data.truth(index).labels.tolist() == [58, 75]
    first = [0.519219 - 0.39825 / 2, 0.451121 - 0.75729 / 2, 0.519219 + 0.39825 / 2, 0.451121 + 0.75729 / 2]
    expected = torch.tensor(first) * torch.tensor([width, height, width, height])
    torch.testing.assert_close(data.truth(index).boxes[0], expected, rtol=1e-5, atol=1e-3)
