"""The sample that is shipped, and the larger sets where they are at hand."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from matchloss.recipes.data import DataError, SegmentationFolder

ROOT = Path(__file__).parents[1]
SHARED = Path(__file__).parents[2] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the larger data sets are not here")


def test_nuclei_sample():
    train, val = (SegmentationFolder(ROOT / "samples/nuclei", split) for split in ("train", "val"))
    line = "40 images, 2 classes (background, foreground), masks read as instances"
    assert (train.describe(), len(val)) == (line, 12)
    assert not set(train.names) & set(val.names)
    assert sum(path.stat().st_size for path in (ROOT / "samples/nuclei").rglob("*.*")) < 3e6
    for data in (train, val):
        samples = [data[index] for index in range(len(data))]
        means = [float(sample.image.float().mean()) for sample in samples]
        assert min(means) < 10
        assert max(means) > 140  # both kinds: dark fluorescence, bright stained tissue
        assert all(0 < float(sample.labels.float().mean()) < 0.9 for sample in samples)


@needs_shared
def test_nuclei_sample_is_what_its_script_makes(tmp_path: Path):
    source, ours = SHARED / "nuclei_dsb2018", ROOT / "samples/nuclei"
    spec = importlib.util.spec_from_file_location("make_nuclei", ROOT / "samples/make_nuclei.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for split, part in enumerate(("train", "val")):
        ids = (source / f"{part}.txt").read_text().split()
        assert script.choose(source, split, ids) == (ours / f"{part}.txt").read_text().split()
    script.TAKE = {"dim": (1, 1), "pink": (1, 0), "fluorescent": (0, 0), "pale": (0, 0)}  # encoding all takes long
    script.main(source, tmp_path)
    assert len(list((tmp_path / "images").iterdir())) == 3
    for folder in (tmp_path, ours):
        for path in folder.glob("*/*.png"):
            made, original = np.asarray(Image.open(path)), np.asarray(Image.open(source / path.relative_to(folder)))
            assert made.dtype == original.dtype
            np.testing.assert_array_equal(made, original if made.ndim == 2 else original[..., :3])


@needs_shared
def test_dubai_colours():
    root, table = SHARED / "dubai_aerial_seg", ROOT / "samples/classes/dubai.json"
    data = SegmentationFolder(root, "val", classes=table)
    assert data.describe() == "8 images, 5 classes (building, land, road, vegetation, water), masks read as colors"
    seen = torch.zeros(6, dtype=torch.int64)
    for index in (1, 3):  # tiles 2 and 4 are palette files
        labels = data[index].labels
        mask = np.asarray(Image.open(root / "masks" / f"{data.names[index]}.png").convert("RGB"))
        building = torch.from_numpy((mask == [0x3C, 0x10, 0x98]).all(axis=2))
        assert torch.equal(labels == 0, building)
        seen += torch.bincount(torch.where(labels == -100, 5, labels).flatten(), minlength=6)
    assert (seen[:5] > 0).all()
    with pytest.raises(DataError, match=r"tile1_part005\.png has mode RGB.*write a classes\.json"):
        SegmentationFolder(root, "val")


@needs_shared
def test_dubai_upstream_colours_are_refused(tmp_path: Path):
    root = SHARED / "dubai_aerial_seg"
    upstream = json.loads((root / "classes_upstream.json").read_text())["classes"]
    colors = {entry["title"]: entry["color"] for entry in upstream}
    table = tmp_path / "wrong.json"
    table.write_text(json.dumps({"format": "colors", "classes": colors}))
    data = SegmentationFolder(root, "val", classes=table)
    with pytest.raises(DataError, match=r"tile1_part005\.png holds colour #[0-9A-F]{6}, \d+ pixels, the first at \(x="):
        data[0]
