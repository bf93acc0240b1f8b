"""COCO JSON: one file a split, of instances or panoptic."""

import glob
import json
from pathlib import Path
from typing import Any

from matchloss.recipes.data.annotations import (
    Annotation,
    BoxObject,
    image_size,
    inner_path,
    shorten,
    to_label,
    to_number,
)
from matchloss.recipes.data.errors import DataError
from matchloss.recipes.data.pixels import SUFFIXES

Entry = dict[str, Any]  # an object of the JSON file; nothing is known of its values


class COCOReader:
    """A JSON file with `images`, `annotations` and `categories`, images found below the folder by their `file_name`.

    - Category ids become 0, 1, ... by their order; ids need not be contiguous, and COCO's are not.
    - A panoptic file has its boxes in `segments_info`; categories with `isthing` 0 (sky, road) are no objects.
    - Crowds (`iscrowd`) are ignored: they count neither as objects nor as background. So are objects with `ignore`.
    - An image without annotations is an image without objects.
    """

    kind = "COCO JSON"

    def __init__(self, root: Path, split: str, path: Path, classes: list[str] | None) -> None:
        self.path = path
        data = _load(path)
        self._categories = _read_categories(data, path)
        names = [self._categories[key] for key in sorted(self._categories)]
        self.classes = classes or [name for name in names if name is not None]
        if len(set(self.classes)) < len(self.classes):
            raise DataError(f"{path}: two categories have the same name; expected different ones")
        self._ids = {name: index for index, name in enumerate(self.classes)}
        self._images = _read_images(data, path)
        self.names = list(self._images)
        self._found = _group(data, path, {image["id"] for image in self._images.values()})
        year = path.stem.removeprefix("instances_").removeprefix("panoptic_")
        places = ["images", f"images/{year}", year, f"images/{split}", split, f"{split}2017", "JPEGImages", "."]
        self._folders = [root / place for place in dict.fromkeys(places) if (root / place).is_dir()]

    def read(self, name: str) -> Annotation:
        """Find the image and read its annotations."""
        entry = self._images[name]
        image = self._find(entry["file_name"])
        declared = None
        if "width" in entry and "height" in entry:
            where = f"{self.path}, image {entry['id']}"
            declared = to_number(entry["width"], f"{where}, width"), to_number(entry["height"], f"{where}, height")
        size = image_size(image, declared, self.path)
        objects = [self._read_object(found) for found in self._found.get(entry["id"], [])]
        return Annotation(image, size, [found for found in objects if found is not None])

    def _find(self, file_name: str) -> Path:
        relative = inner_path(file_name, str(self.path))
        for folder in self._folders:
            if (folder / relative).is_file():
                return folder / relative
        looked = ", ".join(str(folder) for folder in self._folders)
        raise DataError(f"{self.path} names the image {shorten(file_name)}, which is missing; looked in {looked}")

    def _read_object(self, entry: Entry) -> BoxObject | None:
        where = f"{self.path}, annotation {shorten(entry.get('id'))} of image {shorten(entry['image_id'])}"
        category = entry.get("category_id")
        if not isinstance(category, int) or category not in self._categories:
            raise DataError(f"{where} has the unknown category_id {shorten(category)}")
        name = self._categories[category]
        if name is None:
            return None
        label = to_label(name, self._ids, where)
        box = entry.get("bbox")
        if not isinstance(box, list) or len(box) != 4:
            raise DataError(f"{where} has no bbox of four numbers; expected [x, y, width, height]")
        x, y, width, height = (to_number(number, f"{where}, bbox") for number in box)
        flags = (to_number(entry.get(key, 0), f"{where}, {key}") for key in ("iscrowd", "ignore"))
        return BoxObject((x, y, x + width, y + height), label, any(flag != 0 for flag in flags))


def json_places(split: str) -> list[str]:
    """Where the file of a split may lie, as patterns; the first that is there is taken."""
    return [
        f"instances_{split}.json",
        f"{split}.json",
        f"annotations/instances_{split}*.json",
        f"annotations/{split}.json",
        f"panoptic_{split}.json",
        f"annotations/panoptic_{split}*.json",
    ]


def find_json(root: Path, split: str) -> Path | None:
    """The JSON file of a split; two that fit equally well are an error."""
    for pattern in json_places(glob.escape(split)):
        found = sorted(root.glob(pattern))
        if len(found) > 1:
            raise DataError(f"{found[0]} and {found[1].name} both fit the split '{split}'; name it in full")
        if found:
            return found[0]
    return None


def _load(path: Path) -> Entry:
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error
    keys = ("images", "annotations", "categories")
    if not isinstance(data, dict) or not all(isinstance(data.get(key), list) for key in keys):
        raise DataError(f"{path} is no COCO JSON file; expected an object with the lists {', '.join(keys)}")
    for key in keys:
        for number, entry in enumerate(data[key]):
            if not isinstance(entry, dict):
                raise DataError(f"{path}: entry {number} of {key} is {shorten(entry)}; expected an object")
    return data


def _read_categories(data: Entry, path: Path) -> dict[int, str | None]:
    """Name by category id; None for what is no thing."""
    names: dict[int, str | None] = {}
    for entry in data["categories"]:
        key, name = entry.get("id"), entry.get("name")
        if not isinstance(key, int) or key in names or not isinstance(name, str) or not name:
            raise DataError(f"{path}: a category has the id {shorten(key)} and the name {shorten(name)}; expected both")
        names[key] = name if entry.get("isthing", 1) else None
    if not any(names.values()):
        raise DataError(f"{path} has no categories of objects; expected one or more")
    return names


def _read_images(data: Entry, path: Path) -> dict[str, Entry]:
    """The entries of `images` by name: the file name without its suffix."""
    images: dict[str, Entry] = {}
    ids: set[int | str] = set()
    for number, entry in enumerate(data["images"]):
        key, file_name = entry.get("id"), entry.get("file_name")
        if not isinstance(key, int | str) or key in ids or not isinstance(file_name, str) or not file_name:
            raise DataError(
                f"{path}: entry {number} of images has the id {shorten(key)} and the file_name {shorten(file_name)}; "
                "expected both, and no id twice"
            )
        stem, dot, suffix = file_name.rpartition(".")
        name = stem if (dot + suffix).lower() in SUFFIXES else file_name
        if name in images:
            raise DataError(f"{path} lists the image {shorten(name)} twice; its annotations must stand under one id")
        ids.add(key)
        images[name] = entry
    if not images:
        raise DataError(f"{path} lists no images")
    return images


def _group(data: Entry, path: Path, ids: set[int | str]) -> dict[int | str, list[Entry]]:
    """Annotations by image id, panoptic segments brought into the form of instances."""
    groups: dict[int | str, list[Entry]] = {}
    for number, entry in enumerate(data["annotations"]):
        image = entry.get("image_id")
        if not isinstance(image, int | str) or image not in ids:
            raise DataError(
                f"{path}: entry {number} of annotations has the image_id {shorten(image)}, which no image has"
            )
        if "segments_info" not in entry:
            groups.setdefault(image, []).append(entry)
            continue
        segments = entry["segments_info"]
        if not isinstance(segments, list) or not all(isinstance(segment, dict) for segment in segments):
            raise DataError(f"{path}: segments_info of image {shorten(image)} is no list of objects")
        groups.setdefault(image, []).extend({**segment, "image_id": image} for segment in segments)
    return groups
