"""Pascal VOC: boxes come out as written, and no XML file can do harm."""

import time
from collections import Counter
from pathlib import Path

import pytest

from box_folders import SHARED, fails, image, needs_shared, voc, write, xml, xml_object
from matchloss.recipes.data import BoxFolder, DataError

CELL = xml_object("cell", (10, 5, 30, 25))
BOMB = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'


def test_objects_come_out_as_written(tmp_path: Path):
    part = "<part><name>head</name><bndbox><xmin>0</xmin></bndbox></part>"
    second = xml_object(" dust ", (0, "2.5", 60, 1e1), "<difficult>1</difficult>" + part)
    data = BoxFolder(voc(tmp_path, {"a": xml(CELL, second), "b": xml()}), "train")
    sample = data[0]
    assert data.classes == ["cell", "dust"]
    assert sample.boxes.tolist() == [[10, 5, 30, 25], [0, 2.5, 60, 10]]
    assert sample.labels.tolist() == [0, 1]
    assert sample.ignore.tolist() == [False, True]
    assert (sample.name, tuple(sample.image.shape)) == ("a", (3, 40, 60))
    assert [tuple(part.shape) for part in data[1][1:4]] == [(0, 4), (0,), (0,)]
    assert data.describe() == "2 images, 2 classes (cell, dust), 2 boxes (1 of them ignored), read as VOC"


def test_classes_come_from_the_whole_folder_or_a_file(tmp_path: Path):
    files = {"a": xml(CELL), "b": xml(xml_object("dust", (1, 1, 9, 9))), "c": xml(xml_object("ash", (1, 1, 9, 9)))}
    root = voc(tmp_path, files)
    write(root / "train.txt", "a\n")
    write(root / "val.txt", "b\nc\n")
    train, val = BoxFolder(root, "train"), BoxFolder(root, "val")
    assert train.classes == val.classes == ["ash", "cell", "dust"]
    assert (train[0].labels.item(), val[0].labels.item(), val[1].labels.item()) == (1, 2, 0)
    write(root / "classes.txt", "\ufeffcell\r\ndust\r\nash\r\n")
    assert BoxFolder(root, "val").classes == ["cell", "dust", "ash"]
    assert BoxFolder(root, "val", classes=["dust", "ash"])[0].labels.item() == 0
    fails(root, "a.xml, object 1 has the unknown class 'cell'; known are dust, ash", classes=["dust", "ash"])
    write(root / "classes.txt", "cell\n\ndust\n")
    fails(root, "classes.txt: the name of class 1 is ''")


def test_lists_in_imagesets_and_images_in_images(tmp_path: Path):
    root = voc(tmp_path, {"deep/a": xml(CELL)})
    (root / "ImageSets/Main").mkdir(parents=True)
    (root / "train.txt").rename(root / "ImageSets/Main/train.txt")
    (root / "JPEGImages").rename(root / "images")
    assert BoxFolder(root, "train").names == ["deep/a"]
    write(root / "train.txt", "deep/b\n")  # the list at the root comes first
    fails(root, "deep/b is missing")
    with pytest.raises(DataError, match=r"val\.txt does not exist; split lists in this folder: train"):
        BoxFolder(root, "val")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_encodings_and_line_ends(tmp_path: Path, encoding: str):
    text = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?>\r\n{xml(xml_object("Öl", (1, 1, 9, 9)))}'
    data = BoxFolder(voc(tmp_path, {"a": text.replace("><", ">\r\n<").encode(encoding)}), "train")
    assert data.classes == ["Öl"]
    assert data[0].boxes.tolist() == [[1, 1, 9, 9]]


ATTACKS = {
    "laughs": BOMB + "<annotation><object><name>&b;</name></object></annotation>",
    "external": '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + xml(xml_object("&e;", (1, 1, 9, 9))),
    "parameter": '<!DOCTYPE x [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]>' + xml(CELL),
    "remote DTD": '<!DOCTYPE annotation SYSTEM "http://localhost/x.dtd">' + xml(CELL),
    "UTF-16": (BOMB + xml(CELL)).encode("utf-16"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_entities_and_document_types_are_refused(tmp_path: Path, attack: str):
    root = voc(tmp_path, {"a": xml(CELL), "b": ATTACKS[attack]})
    assert "root:" not in fails(root, "Annotations/b.xml is refused: it declares a document type or entities")
    with pytest.warns(UserWarning, match="1 of 2 samples left out"):
        assert BoxFolder(root, "train", skip_bad=True).names == ["a"]


SAMPLE = Path(__file__).parents[1] / "samples" / "bccd"
NUMBER = "expected a finite number"
BAD = {
    "empty": ("", "b.xml is not XML that can be read"),
    "cut": (xml(CELL)[:-30], "b.xml is not XML that can be read"),
    "encoding": ('<?xml version="1.0" encoding="klingon"?>' + xml(CELL), "b.xml is not XML that can be read"),
    "bytes": (b"<annotation>\xff\xfe</annotation>", "b.xml is not XML that can be read"),
    "another": ("<html><body/></html>", "b.xml begins with <html>; expected <annotation>"),
    "NaN": (xml(CELL, xml_object("cell", ("nan", 1, 9, 9))), f"b.xml, object 2, xmin is 'nan'; {NUMBER}"),
    "infinite": (xml(xml_object("cell", (1, 1, 9, "1e999"))), f"b.xml, object 1, ymax is '1e999'; {NUMBER}"),
    "word": (xml(xml_object("cell", (1, "left", 9, 9))), f"b.xml, object 1, ymin is 'left'; {NUMBER}"),
    "no edge": (xml(CELL).replace("<ymin>5</ymin>", ""), f"b.xml, object 1, ymin is ''; {NUMBER}"),
    "no box": (xml("<object><name>cell</name></object>"), "b.xml, object 1 ('cell') has no bndbox"),
    "no name": (xml(xml_object("  ", (1, 1, 9, 9))), "b.xml, object 1 has no name"),
    "difficult": (xml(xml_object("cell", (1, 1, 9, 9), "<difficult>no</difficult>")), "difficult is 'no'"),
    "long": (xml(xml_object("cell", (1, 1, 9, "9" * 10_000 + "x"))), NUMBER),
    "size": (xml(CELL, size="<size><width>40</width><height>60</height></size>"),
             "b.xml is made for 40x60 pixels, but"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_raise_or_are_left_out(tmp_path: Path, kind: str):
    content, part = BAD[kind]
    root = voc(tmp_path, {"b": content, "a": xml(CELL), "c": xml(CELL)})
    fails(root, part)
    with pytest.warns(UserWarning, match="1 of 3 samples left out"):
        data = BoxFolder(root, "train", skip_bad=True)
    assert data.names == ["a", "c"]
    assert part in data.skipped[0]
    assert data.describe().endswith("2 boxes, read as VOC, 1 left out")


def test_sizes_that_a_tool_did_not_know(tmp_path: Path):
    unknown = xml(CELL, size="<size><width>0</width><height>0</height></size>")
    assert len(BoxFolder(voc(tmp_path, {"a": unknown, "b": xml(CELL, size="")}), "train")) == 2


def test_missing_parts_of_a_sample(tmp_path: Path):
    root = voc(tmp_path, {"a": xml(CELL), "b": xml(CELL), "c": xml(CELL)})
    (root / "JPEGImages/a.png").unlink()
    (root / "Annotations/b.xml").unlink()
    fails(root, "JPEGImages/a is missing")
    with pytest.warns(UserWarning, match="2 of 3"):
        data = BoxFolder(root, "train", skip_bad=True)
    assert data.names == ["c"]
    assert "b.xml is missing; an image without objects has a file without objects" in data.skipped[1]
    write(root / "train.txt", "../JPEGImages/c\n")
    fails(root, "points outside the folder")
    (root / "JPEGImages/c.png").unlink()
    image(root / "elsewhere.png")
    fails(voc(tmp_path / "2", {"a": xml()}), "holds no XML file with a named object")


@needs_shared
def test_blood_cells():
    start = time.perf_counter()
    train, val = BoxFolder(SHARED / "bccd", "train"), BoxFolder(SHARED / "bccd", "val")
    assert time.perf_counter() - start < 5  # 0.5 s on an idle machine
    assert (len(train), len(val)) == (205, 87)
    assert train.classes == val.classes == ["Platelets", "RBC", "WBC"]
    counts: Counter[int] = Counter()
    for data in (train, val):
        assert data.describe().endswith("read as VOC, 1 box of no size dropped")
        for index in range(len(data)):
            counts.update(data.truth(index).labels.tolist())
    # 3943 objects in the files, two of no size
    assert counts == {0: 292, 1: 3348, 2: 301}
    assert val.names[0] == (SHARED / "bccd/val.txt").read_text().split()[0]
    assert tuple(val[0].image.shape) == (3, 480, 640)


def test_sample():
    train, val = BoxFolder(SAMPLE, "train"), BoxFolder(SAMPLE, "val")
    assert train.describe() == "60 images, 3 classes (Platelets, RBC, WBC), 831 boxes, read as VOC"
    assert val.describe() == "25 images, 3 classes (Platelets, RBC, WBC), 307 boxes, read as VOC"
    assert not set(train.names) & set(val.names)
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*")) < 2.5e6
    assert "Copyright (c) 2017 shenggan" in (SAMPLE / "LICENSE").read_text()
