"""COCO JSON: ids, crowds and panoptic files come out right, and a wrong file gives one clear error."""

from collections import Counter
from pathlib import Path

import pytest

from box_folders import SHARED, coco, coco_json, coco_object, fails, image, needs_shared, write
from matchloss.recipes.data import BoxFolder

GOOD = coco_object(1, 7, [10, 5, 20, 20])
PANOPTIC = {
    "images": [{"id": 1, "file_name": "a.png"}],
    "categories": [
        {"id": 9, "name": "cell", "isthing": 1},
        {"id": 2, "name": "glass", "isthing": 0},
        {"id": 4, "name": "dust", "isthing": 1},
    ],
    "annotations": [
        {
            "image_id": 1,
            "file_name": "a.png",
            "segments_info": [
                {"id": 5, "category_id": 2, "bbox": [0, 0, 60, 40], "iscrowd": 0},
                {"id": 6, "category_id": 9, "bbox": [1, 2, 3, 4], "iscrowd": 1},
                {"id": 7, "category_id": 4, "bbox": [0, 0, 5, 5], "iscrowd": 0},
            ],
        }
    ],
}


def test_ids_by_order_and_crowds_ignored(tmp_path: Path):
    crowd = coco_object(1, 3, [0.5, 0, 1, 2], iscrowd=1)
    data = BoxFolder(coco(tmp_path, coco_json([GOOD, crowd, coco_object(1, 3, [0, 0, 9, 9], ignore=1)])), "train")
    assert data.classes == ["dust", "cell"]  # ids 3 and 7, whatever their order in the file
    sample = data[0]
    assert sample.boxes.tolist() == [[10, 5, 30, 25], [0.5, 0, 1.5, 2], [0, 0, 9, 9]]
    assert sample.labels.tolist() == [1, 0, 0]
    assert sample.ignore.tolist() == [False, True, True]
    assert data.names == ["a", "b"]
    assert [tuple(part.shape) for part in data[1][1:4]] == [(0, 4), (0,), (0,)]
    assert data.describe() == "2 images, 2 classes (dust, cell), 3 boxes (2 of them ignored), read as COCO JSON"
    other = BoxFolder(tmp_path, "train", classes=["cell", "glass", "dust"])
    assert other.truth(0).labels.tolist() == [0, 2, 2]
    fails(tmp_path, "annotation 11 of image 1 has the unknown class 'dust'; known are cell", classes=["cell"])


def test_panoptic_things(tmp_path: Path):
    data = BoxFolder(coco(tmp_path, PANOPTIC, "panoptic_train.json"), "train")
    assert data.classes == ["dust", "cell"]
    assert data[0].boxes.tolist() == [[1, 2, 4, 6], [0, 0, 5, 5]]
    assert data[0].labels.tolist() == [1, 0]
    assert data[0].ignore.tolist() == [True, False]
    assert len(BoxFolder(coco(tmp_path, coco_json([])), "train")) == 2  # instances come first


@pytest.mark.parametrize(
    ("place", "folder"),
    [
        ("instances_train.json", "train"),
        ("train.json", "JPEGImages"),
        ("annotations/instances_train2017.json", "train2017"),
        ("annotations/instances_train2014.json", "images/train2014"),
        ("annotations/panoptic_train2017.json", "images/train"),
        ("annotations/train.json", "."),
    ],
)
def test_places_of_files_and_images(tmp_path: Path, place: str, folder: str):
    write(tmp_path / place, coco_json([GOOD], file_names=("deep/a.png",)))
    fails(tmp_path, f"{tmp_path / place} names the image 'deep/a.png', which is missing")
    image(tmp_path / folder / "deep/a.png")
    data = BoxFolder(tmp_path, "train", format="coco")
    assert data.names == ["deep/a"]
    assert data[0].boxes.tolist() == [[10, 5, 30, 25]]


def test_two_files_of_a_split(tmp_path: Path):
    coco(tmp_path, coco_json([]), "annotations/instances_train2014.json")
    write(tmp_path / "annotations/instances_train2017.json", coco_json([]))
    fails(tmp_path, "instances_train2014.json and instances_train2017.json both fit the split 'train'")
    assert len(BoxFolder(tmp_path, "train2017")) == 2


def test_bom_and_line_ends(tmp_path: Path):
    coco(tmp_path, b'\xef\xbb\xbf{\r\n"images": [{"id": "x", "file_name": "a.png"}],\r\n"annotations": [],\r\n'
                   b'"categories": [{"id": 0, "name": "cell"}]}\r\n')  # fmt: skip
    assert BoxFolder(tmp_path, "train").classes == ["cell"]


# One sample is bad


PATHS = ["../secret.png", "/etc/passwd", "C:\\a.png", "..\\secret.png", "x/../../secret.png", "a\0.png",
         "\\\\server\\a.png"]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_paths_that_lead_out_of_the_folder(tmp_path: Path, path: str):
    root = coco(tmp_path / "data", coco_json([GOOD], file_names=("a.png", path)))
    image(tmp_path / "secret.png")
    fails(root, "names the file", "expected a path inside the folder")
    with pytest.warns(UserWarning, match="1 of 2 samples left out"):
        assert BoxFolder(root, "train", skip_bad=True).names == ["a"]


WHERE = "instances_train.json, annotation 11 of image 2"
BAD = {
    "category": (coco_object(2, 5, [0, 0, 1, 1]), f"{WHERE} has the unknown category_id 5"),
    "listed category": (coco_object(2, [7], [0, 0, 1, 1]), "unknown category_id of type list"),
    "no box": (coco_object(2, 7, None), f"{WHERE} has no bbox of four numbers"),
    "three": (coco_object(2, 7, [0, 0, 1]), "no bbox of four numbers"),
    "NaN": (coco_object(2, 7, [0, float("nan"), 1, 1]), f"{WHERE}, bbox is nan; expected a finite number"),
    "infinite": (coco_object(2, 7, [0, 0, float("inf"), 1]), f"{WHERE}, bbox is inf; expected a finite number"),
    "huge": (coco_object(2, 7, [0, 0, 10**400, 1]), f"{WHERE}, bbox is 1000"),
    "true": (coco_object(2, 7, [0, 0, True, 1]), f"{WHERE}, bbox is True"),
    "object": (coco_object(2, 7, [0, 0, {}, 1]), f"{WHERE}, bbox is of type dict"),
    "crowd": (coco_object(2, 7, [0, 0, 1, 1], iscrowd=None), f"{WHERE}, iscrowd is of type NoneType"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_annotations_raise_or_are_left_out(tmp_path: Path, kind: str):
    entry, part = BAD[kind]
    root = coco(tmp_path, coco_json([GOOD, entry]))
    fails(root, part)
    with pytest.warns(UserWarning, match="1 of 2 samples left out"):
        data = BoxFolder(root, "train", skip_bad=True)
    assert data.names == ["a"]
    assert part in data.skipped[0]


def test_image_of_another_size_or_damaged(tmp_path: Path):
    root = coco(tmp_path, coco_json([GOOD]))
    image(root / "images/b.png", 40, 60)
    fails(root, "instances_train.json is made for 60x40 pixels, but", "images/b.png has 40x60 (upright by EXIF)")
    image(root / "images/b.png")
    (root / "images/b.png").write_bytes((root / "images/b.png").read_bytes()[:3000])
    data = BoxFolder(root, "train")  # the header is whole
    assert data[0].labels.tolist() == [1]
    fails(root, "images/b.png is damaged")
    with pytest.warns(UserWarning, match="1 of 2"):
        assert BoxFolder(root, "train", skip_bad=True).names == ["a"]


# The whole file is bad


IMAGES = [{"id": 1, "file_name": "a.png"}]
CATEGORIES = [{"id": 1, "name": "cell"}]
WHOLE = {
    "empty": (b"", "cannot be read as JSON"),
    "bytes": (b"\xff\xfe\x00", "cannot be read as JSON"),
    "cut": (b'{"images": [', "cannot be read as JSON"),
    "deep": (b"[" * 100_000, "cannot be read as JSON"),
    "digits": (b'{"images": ' + b"9" * 10_000 + b"}", "cannot be read as JSON"),
    "list": ([], "is no COCO JSON file"),
    "no categories": ({"images": IMAGES, "annotations": []}, "expected an object with the lists images"),
    "entry": ({"images": IMAGES, "annotations": [3], "categories": CATEGORIES}, "entry 0 of annotations is 3"),
    "no images": ({"images": [], "annotations": [], "categories": CATEGORIES}, "lists no images"),
    "no id": ({"images": [{"file_name": "a.png"}], "annotations": [], "categories": CATEGORIES},
              "entry 0 of images has the id of type NoneType"),
    "twice": ({"images": IMAGES * 2, "annotations": [], "categories": CATEGORIES}, "entry 1 of images has the id 1"),
    "two ids": ({"images": [*IMAGES, {"id": 2, "file_name": "a.png"}], "annotations": [], "categories": CATEGORIES},
                "lists the image 'a' twice"),
    "no name": ({"images": IMAGES, "annotations": [], "categories": [{"id": 1}]}, "the name of type NoneType"),
    "same name": ({"images": IMAGES, "annotations": [], "categories": [*CATEGORIES, {"id": 2, "name": "cell"}]},
                  "two categories have the same name"),
    "same id": ({"images": IMAGES, "annotations": [], "categories": [*CATEGORIES, {"id": 1, "name": "b"}]},
                "a category has the id 1"),
    "stuff": ({"images": IMAGES, "annotations": [], "categories": [{"id": 1, "name": "sky", "isthing": 0}]},
              "no categories of objects"),
    "orphan": (coco_json([GOOD, coco_object(9, 7, [0, 0, 1, 1])]), "entry 1 of annotations has the image_id 9"),
    "orphan list": (coco_json([coco_object([1], 7, [0, 0, 1, 1])]), "has the image_id of type list"),
    "segments": (coco_json([{"image_id": 1, "segments_info": 5}]), "segments_info of image 1 is no list"),
}  # fmt: skip


@pytest.mark.parametrize("skip_bad", [False, True])
@pytest.mark.parametrize("kind", WHOLE)
def test_bad_files(tmp_path: Path, kind: str, skip_bad: bool):
    content, part = WHOLE[kind]
    fails(coco(tmp_path, content), "instances_train.json", part, skip_bad=skip_bad)


@needs_shared
def test_coco_mini():
    train, val = BoxFolder(SHARED / "coco_mini", "train"), BoxFolder(SHARED / "coco_mini", "val")
    assert (len(train), len(val), train.format) == (26, 7, "COCO JSON")
    assert train.classes == val.classes
    assert len(train.classes) == 80
    assert (train.classes[0], train.classes[-1]) == ("person", "toothbrush")
    truths = [train.truth(index) for index in range(26)]
    assert [int(truth.ignore.sum()) for truth in truths if truth.ignore.any()] == [1]
    assert Counter(len(truth.labels) for truth in truths)[0] == 1
    assert "181 boxes (1 of them ignored)" in train.describe()
    # COCO annotated things twice, as instances and for panoptic; nearly all boxes of the one are found in the other.
    plain = BoxFolder(SHARED / "coco_mini", "train", format="yolo")
    assert (plain.classes, plain.names) == (train.classes, train.names)
    alike = 0
    for index, truth in enumerate(truths):
        same = plain.truth(index)
        for box, label in zip(same.boxes, same.labels, strict=True):
            near = (truth.boxes - box).abs().amax(1) < 3
            alike += bool((near & (truth.labels == label)).any())
    assert sum(len(plain.truth(index).labels) for index in range(26)) == 181
    assert alike >= 170
