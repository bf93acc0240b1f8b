"""YOLO txt: one text file an image, a line an object, numbers as fractions of the image's size."""

from pathlib import Path

from matchloss.recipes.data.annotations import Annotation, BoxObject, image_size, shorten, to_number
from matchloss.recipes.data.class_names import find_names
from matchloss.recipes.data.errors import DataError
from matchloss.recipes.data.splits import Entry, find_one, list_images, read_split

# Fractions beyond these are pixels by mistake; a box that hangs over the border stays well within.
LOWEST, HIGHEST = -1.0, 2.0


class YOLOReader:
    """`labels/<id>.txt` for `images/<id>.jpg`, ids in `<split>.txt`; or `labels/<split>/` for `images/<split>/`.

    - A line is `class cx cy width height`. Longer lines are polygons, `class x y x y ...`: their bounding box is taken.
    - An image without a text file has no objects.
    - Classes stand in data.yaml, names.json, classes.txt (also in the label folder) or names_<kind>.json.
    - The label folder may have another name that begins with "labels"; of several, the one with "box" in it is taken.
    """

    kind = "YOLO"

    def __init__(self, root: Path, split: str, classes: list[str] | None) -> None:
        labels, images = _choose_labels(root), root / "images"
        list_file = root / f"{split.removesuffix('.txt')}.txt"
        if list_file.is_file() or not (images / split).is_dir():
            # Some lists give paths from the folder on, as in "./images/train/0001.jpg".
            entries = {name.removeprefix("images/"): lines for name, lines in read_split(root, split).items()}
            self._image_folder, self._labels = images, labels
            self._files = list_images(images)
        else:
            self._image_folder, self._labels = images / split, labels / split
            self._files = list_images(self._image_folder)
            entries = {name: [] for name in self._files}
        self._entries: dict[str, list[Entry]] = entries
        self.names = list(entries)
        if not any(self._label_file(name).is_file() for name in self.names):
            raise DataError(f"{self._labels} holds no text file of any image of the split '{split}'")
        names = find_names(root, [labels / "classes.txt", *_names_of_kind(root, labels)])
        if names is None and classes is None:
            raise DataError(
                f"{root} does not name its classes: write a classes.txt with a name a line "
                "(or data.yaml, names.json, names_<kind>.json)"
            )
        self._names = names or dict(enumerate(classes or []))
        self.classes = classes or list(self._names.values())
        self._ids = {name: index for index, name in enumerate(self.classes)}

    def read(self, name: str) -> Annotation:
        """Pair an image with its text file."""
        image = find_one(self._files, self._image_folder, name, self._entries[name])
        path = self._label_file(name)
        size = image_size(image, None, path)
        objects = []
        for number, line in enumerate(_read_lines(path), 1):
            if line.strip():
                objects.append(self._read_line(line.split(), size, f"{path}, line {number}"))
        return Annotation(image, size, objects)

    def _read_line(self, fields: list[str], size: tuple[int, int], where: str) -> BoxObject:
        label = self._to_label(fields[0], where)
        numbers = [to_number(field, where) for field in fields[1:]]
        if len(numbers) < 4 or len(numbers) % 2:
            raise DataError(f"{where} has {len(fields)} fields; expected class cx cy width height, or a polygon")
        if not LOWEST <= min(numbers) <= max(numbers) <= HIGHEST:
            wrong = next(number for number in numbers if not LOWEST <= number <= HIGHEST)
            raise DataError(f"{where} holds {wrong:g}; expected fractions of the image's size, not pixels")
        if len(numbers) == 4:
            cx, cy, width, height = numbers
            box = cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2
        else:
            xs, ys = numbers[::2], numbers[1::2]
            box = min(xs), min(ys), max(xs), max(ys)
        return BoxObject((box[0] * size[0], box[1] * size[1], box[2] * size[0], box[3] * size[1]), label)

    def _to_label(self, field: str, where: str) -> int:
        key = to_number(field, where)  # some tools write 3.0
        name = self._names.get(int(key)) if key == int(key) else None
        if name is None or name not in self._ids:
            raise DataError(f"{where} has the unknown class {shorten(field)}; there are {len(self.classes)} classes")
        return self._ids[name]

    def _label_file(self, name: str) -> Path:
        return self._labels / f"{name}.txt"


def label_folders(root: Path) -> list[Path]:
    """The folders beside `images/` that may hold label files."""
    if not (root / "images").is_dir():
        return []
    return sorted(path for path in root.glob("labels*") if path.is_dir())


def _choose_labels(root: Path) -> Path:
    folders = label_folders(root)
    if root / "labels" in folders:
        return root / "labels"
    boxes = [folder for folder in folders if "box" in folder.name]
    best = folders if len(folders) == 1 else boxes
    if len(best) != 1:
        found = ", ".join(folder.name for folder in folders) or "none"
        raise DataError(f"{root}: expected images/ and beside it one folder labels/ with .txt files, got {found}")
    return best[0]


def _names_of_kind(root: Path, labels: Path) -> list[Path]:
    """names_<kind>.json, with a word of the label folder's name as its kind; the only one fits anyway."""
    files = sorted(root.glob("names_*.json"))
    words = labels.name.split("_")[1:]
    return [file for file in files if len(files) == 1 or file.stem.removeprefix("names_") in words]


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}") from error
