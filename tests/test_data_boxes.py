"""Detection folders: which format is read, what happens to impossible boxes, what stays in memory."""

import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image

from box_folders import (
    HEIGHT,
    SHARED,
    WIDTH,
    coco,
    coco_json,
    coco_object,
    fails,
    image,
    needs_shared,
    voc,
    xml,
    xml_object,
    yolo,
)
from matchloss.recipes.data import BoxFolder, DataError
from matchloss.recipes.data.annotations import Annotation, BoxObject, tidy


def test_json_comes_before_voc_before_yolo(tmp_path: Path):
    root = yolo(tmp_path, {"a": "0 .5 .5 .5 .5", "b": None})
    assert BoxFolder(root, "train").format == "YOLO"
    voc(root, {"a": xml(xml_object("cell", (1, 1, 9, 9))), "b": xml()})
    assert BoxFolder(root, "train").format == "VOC"
    coco(root, coco_json([]))
    assert BoxFolder(root, "train").format == "COCO JSON"
    for kind, shown in (("yolo", "YOLO"), ("voc", "VOC"), ("coco", "COCO JSON")):
        assert BoxFolder(str(root), "train", format=kind).format == shown


def test_unknown_folders(tmp_path: Path):
    fails(tmp_path / "nowhere", "nowhere does not exist or is not a folder")
    parts = ["in a known format; looked for", "instances_train.json", "Annotations/*.xml", "labels*/ with .txt files"]
    fails(tmp_path, "holds no boxes of the split 'train'", *parts)
    image(tmp_path / "images/a.png")
    image(tmp_path / "labels/a.png")  # masks, for segmentation
    fails(tmp_path, *parts)
    assert "Annotations" not in fails(tmp_path, "instances_train.json", format="coco")
    fails(tmp_path, "format must be one of auto, voc, coco, yolo, got 'xml'", format="xml")
    fails(tmp_path, "one or more different classes", classes=["a", "a"])
    for split in ("../train", "/etc/passwd", "..", "", "a\\b"):
        with pytest.raises(DataError, match="a split is named by a plain word"):
            BoxFolder(tmp_path, split)


def test_all_bad_is_an_error_even_with_skip_bad(tmp_path: Path):
    root = voc(tmp_path, {"a": "", "b": xml(xml_object("cell", ("x", 1, 2, 3)))})
    fails(root, "all samples of the split 'train' are bad, first:", "a.xml is not XML", skip_bad=True)


def test_nothing_skipped_gives_no_warning(tmp_path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert BoxFolder(coco(tmp_path, coco_json([])), "train", skip_bad=True).skipped == []


# Impossible boxes


def test_impossible_boxes_are_dropped_or_clipped_and_counted(tmp_path: Path):
    boxes = [
        [10, 10, 5, 5],
        [10, 10, 0, 5],  # no width
        [10, 10, 5, -3],  # upside down
        [60, 0, 5, 5],  # touches the right border from outside
        [-9, 10, 5, 5],
        [50, 30, 20, 20],  # hangs over a corner
        [-1e30, -1e30, 2e30, 2e30],  # everything
        [0, 0, 60.2, 40],  # rounding
        [1e308, 0, 1e308, 5],  # its right edge is infinite
    ]
    data = BoxFolder(coco(tmp_path, coco_json([coco_object(1, 7, box) for box in boxes])), "train")
    assert data[0].boxes.tolist() == [[10, 10, 15, 15], [50, 30, 60, 40], [0, 0, 60, 40], [0, 0, 60, 40]]
    assert data.describe().endswith(
        "4 boxes, read as COCO JSON, 2 boxes of no size dropped, 3 boxes outside the image dropped, "
        "2 boxes clipped to the image"
    )


coordinate = st.floats(-200, 200, width=32) | st.sampled_from([0.0, 40.0, 60.0, 1e30, -1e30, 1e-30, 59.99999999])


@given(st.lists(st.tuples(st.tuples(*[coordinate] * 4), st.integers(0, 5), st.booleans()), max_size=12))
@settings(max_examples=200, deadline=None)
def test_what_is_left_lies_inside_and_has_an_area(objects: list[tuple[tuple[float, ...], int, bool]]):
    truth, repairs = tidy(Annotation(Path("a"), (WIDTH, HEIGHT), [BoxObject(*found) for found in objects]))
    assert (truth.boxes.dtype, truth.labels.dtype, truth.ignore.dtype) == (torch.float32, torch.int64, torch.bool)
    assert truth.boxes.shape == (len(truth.labels), 4)
    assert (truth.boxes[:, 2:] > truth.boxes[:, :2]).all()
    assert (truth.boxes >= 0).all()
    assert (truth.boxes <= torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])).all()
    assert len(truth.labels) + repairs.empty + repairs.outside == len(objects)
    assert repairs.clipped <= len(truth.labels)
    whole = [
        found for found in objects
        if 0 <= found[0][0] < found[0][2] <= WIDTH and 0 <= found[0][1] < found[0][3] <= HEIGHT
    ]  # fmt: skip
    kept = [(tuple(box), label, ignore) for box, label, ignore in zip(*map(torch.Tensor.tolist, truth), strict=True)]
    for (x1, y1, x2, y2), label, ignore in whole:  # an honest box is kept, with its own label
        if min(x2 - x1, y2 - y1) > 1e-3:
            assert (tuple(torch.tensor([x1, y1, x2, y2]).tolist()), label, ignore) in kept


# Pixels


def test_pixels_are_read_when_asked_for_and_kept_within_bounds(tmp_path: Path):
    files = {name: xml(xml_object("cell", (1, 1, 9, 9))) for name in "abc"}
    root = voc(tmp_path, files)
    data = BoxFolder(root, "train", cache_bytes=2 * 40 * 60 * 3)
    samples = [data[index] for index in range(3)]
    for path in (root / "JPEGImages").iterdir():
        path.unlink()
    for index in (0, 1):  # in memory, and not the very arrays that were handed out
        samples[index].image.zero_()
        samples[index].boxes.zero_()
        assert data[index].image.any()
        assert data[index].boxes.tolist() == [[1, 1, 9, 9]]
    with pytest.raises(DataError, match=r"c\.png does not exist"):
        data[2]
    assert data.truth(2).boxes.tolist() == [[1, 1, 9, 9]]


def test_an_image_that_changed_its_size_is_told_of(tmp_path: Path):
    root = voc(tmp_path, {"a": xml(xml_object("cell", (1, 1, 9, 9)))})
    data = BoxFolder(root, "train")
    image(root / "JPEGImages/a.png", 30, 20)
    with pytest.raises(DataError, match=r"a\.png has 30x20 pixels; its header said 60x40"):
        data[0]


def test_boxes_of_a_turned_photo_are_those_of_the_picture_as_displayed(tmp_path: Path):
    root = yolo(tmp_path, {"a": "0 .5 .25 .5 .5"})
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 60)).save(root / "images/a.jpg", exif=exif)
    (root / "images/a.png").unlink()
    sample = BoxFolder(root, "train")[0]
    assert sample.image.shape == (3, 40, 60)
    assert sample.boxes.tolist() == [[15, 0, 45, 20]]


@needs_shared
def test_masks_are_not_taken_for_boxes():
    with pytest.raises(DataError, match="holds no boxes of the split 'train'"):
        BoxFolder(SHARED / "nuclei_dsb2018", "train")
