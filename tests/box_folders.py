"""Small detection folders, made for the tests of the readers."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from matchloss.recipes.data import BoxFolder, DataError

SHARED = Path(__file__).parents[2] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the larger data sets are not here")
WIDTH, HEIGHT = 60, 40


def image(path: Path, width: int = WIDTH, height: int = HEIGHT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def write(path: Path, content: str | bytes | object) -> Path:
    """Text, bytes, or whatever JSON holds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, str | bytes):
        content = json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def xml_object(name: object, box: tuple[object, ...], extra: str = "") -> str:
    edges = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<object><name>{name}</name>{extra}<bndbox>{edges}</bndbox></object>"


def xml(*objects: str, size: str = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>") -> str:
    return f"<annotation><filename>../../other.jpg</filename>{size}{''.join(objects)}</annotation>"


def voc(root: Path, files: dict[str, str | bytes]) -> Path:
    """Annotations and images by id, all of them in train.txt."""
    for name, content in files.items():
        write(root / "Annotations" / f"{name}.xml", content)
        image(root / "JPEGImages" / f"{name}.png")
    write(root / "train.txt", "".join(f"{name}\n" for name in files))
    return root


def yolo(root: Path, files: dict[str, str | bytes | None], names: object = ("cell", "dust")) -> Path:
    """Label files (None: no file) and images by id, all of them in train.txt, and names.json."""
    for name, content in files.items():
        if content is not None:
            write(root / "labels" / f"{name}.txt", content)
        image(root / "images" / f"{name}.png")
    write(root / "train.txt", "".join(f"{name}\n" for name in files))
    write(root / "names.json", list(names) if isinstance(names, tuple) else names)
    return root


def coco_json(annotations: list[object], *, file_names: tuple[str, ...] = ("a.png", "b.png")) -> dict[str, object]:
    """Images 1, 2, ... of 60x40 and the categories 7 = cell, 3 = dust."""
    return {
        "images": [
            {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT}
            for number, name in enumerate(file_names, 1)
        ],
        "categories": [{"id": 7, "name": "cell"}, {"id": 3, "name": "dust"}],
        "annotations": annotations,
    }


def coco_object(image_id: object, category: object, box: object, **more: object) -> dict[str, object]:
    return {"id": 11, "image_id": image_id, "category_id": category, "bbox": box, "iscrowd": 0} | more


def coco(root: Path, content: object, place: str = "instances_train.json") -> Path:
    """The file, and images a and b."""
    write(root / place, content)
    for name in ("a", "b"):
        image(root / "images" / f"{name}.png")
    return root


def fails(root: Path, *parts: str, **options: object) -> str:
    """Opening or reading the folder raises a one-line DataError that holds all the parts; its text."""
    with pytest.raises(DataError) as caught:  # noqa: PT012 either step may raise
        data = BoxFolder(root, "train", **options)
        [data[index] for index in range(len(data))]
    message = str(caught.value)
    for part in parts:
        assert part in message, f"{part!r} not in {message}"
    assert len(message.splitlines()) == 1
    assert len(message) < 600
    return message
