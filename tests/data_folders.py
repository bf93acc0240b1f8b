"""Small segmentation folders, made for the tests of the readers."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from matchloss.recipes.data import DataError, SegmentationFolder

COLORS = {"format": "colors", "classes": {"building": "#3C1098", "road": "6ec1e4"}, "ignore": ["#000000"]}
RNG = np.random.default_rng(0)


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def build(root: Path, masks: dict[str, np.ndarray], classes: object = None, folder: str = "masks") -> Path:
    """A folder with a random RGB image for each mask, and train.txt."""
    for name, mask in masks.items():
        save(root / folder / f"{name}.png", mask)
        save(root / "images" / f"{name}.png", RNG.integers(0, 256, (*mask.shape[:2], 3), dtype=np.uint8))
    (root / "train.txt").write_text("".join(f"{name}\n" for name in masks))
    if classes is not None:
        (root / "classes.json").write_text(json.dumps(classes))
    return root


def two(*values: int, dtype: type = np.uint8) -> np.ndarray:
    """A 4x6 mask with the given values, the last of them filling the rest."""
    return np.array([*values, *[values[-1]] * (24 - len(values))], dtype).reshape(4, 6)


def paint(*colors: str) -> np.ndarray:
    """A 4x6 RGB mask with the given colours, the last of them filling the rest."""
    flat = [tuple(bytes.fromhex(color)) for color in colors]
    return np.array(flat + [flat[-1]] * (24 - len(flat)), np.uint8).reshape(4, 6, 3)


def fails(root: Path, *parts: str, **options: object) -> str:
    """Opening or reading the folder raises a DataError that holds all the parts; its text."""
    with pytest.raises(DataError) as caught:  # noqa: PT012 either step may raise
        data = SegmentationFolder(root, "train", **options)
        [data[index] for index in range(len(data))]
    assert type(caught.value).__module__.startswith("matchloss.recipes.data")
    for part in parts:
        assert part in str(caught.value), f"{part!r} not in {caught.value}"
    return str(caught.value)
