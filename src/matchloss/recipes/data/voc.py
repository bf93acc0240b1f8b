"""Pascal VOC: one XML file an image, in `Annotations/`."""

from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException  # type: ignore[import-untyped]
from defusedxml.ElementTree import fromstring  # type: ignore[import-untyped]

from matchloss.recipes.data.annotations import (
    Annotation,
    BoxObject,
    image_size,
    shorten,
    to_label,
    to_number,
)
from matchloss.recipes.data.class_names import find_names
from matchloss.recipes.data.errors import DataError
from matchloss.recipes.data.splits import find_one, list_images, read_split

EDGES = ("xmin", "ymin", "xmax", "ymax")
IMAGE_FOLDERS = ("JPEGImages", "images")


class VOCReader:
    """`Annotations/<id>.xml` for `JPEGImages/<id>.jpg` (or `images/`), ids in `<split>.txt` or `ImageSets/Main/`.

    - Coordinates stay as they are: edges of the box, in pixels from the image's corner. The challenge itself counted
      pixels from 1 and both ends in, so that its boxes come out at most one pixel short at the left and top; most files
      in this format are written by other tools, which do not. A box with `xmin == xmax` therefore has no size.
    - `difficult` objects are ignored: they count neither as objects nor as background.
    - The image belongs to an XML file by its id; what stands in `filename`, `folder` and `path` is not looked at.
    - Classes are those of classes.txt (or the like) if the folder has one, else all names in `Annotations/`, sorted:
      in the whole folder and not in the split, so that `train` and `val` agree.
    """

    kind = "VOC"

    def __init__(self, root: Path, split: str, classes: list[str] | None) -> None:
        self.folder = root / "Annotations"
        plain, nested = root, root / "ImageSets" / "Main"
        split_file = f"{split.removesuffix('.txt')}.txt"
        lists = nested if (nested / split_file).is_file() and not (plain / split_file).is_file() else plain
        self._entries = read_split(lists, split)
        self.names = list(self._entries)
        self._image_folder = next(
            (root / name for name in IMAGE_FOLDERS if (root / name).is_dir()), root / IMAGE_FOLDERS[0]
        )
        self._images = list_images(self._image_folder)
        self._parsed: dict[Path, Element] = {}
        declared = classes or find_names(root, [])
        self.classes = list(declared.values()) if isinstance(declared, dict) else declared or self._collect_classes()
        self._ids = {name: index for index, name in enumerate(self.classes)}

    def read(self, name: str) -> Annotation:
        """Pair an XML file with its image."""
        image = find_one(self._images, self._image_folder, name, self._entries[name])
        path = self.folder / f"{name}.xml"
        root = self._parsed.pop(path, None)
        root = parse(path) if root is None else root
        size = image_size(image, _declared_size(root, path), path)
        objects = [
            self._read_object(element, f"{path}, object {number}")
            for number, element in enumerate(root.findall("object"), 1)
        ]
        return Annotation(image, size, objects)

    def _read_object(self, element: Element, where: str) -> BoxObject:
        name = _class_of(element)
        if not name:
            raise DataError(f"{where} has no name; expected its class")
        label = to_label(name, self._ids, where)
        box = element.find("bndbox")
        if box is None:
            raise DataError(f"{where} ({shorten(name)}) has no bndbox; expected one with {', '.join(EDGES)}")
        xmin, ymin, xmax, ymax = (to_number(box.findtext(edge, ""), f"{where}, {edge}") for edge in EDGES)
        return BoxObject((xmin, ymin, xmax, ymax), label, _is_difficult(element, where))

    def _collect_classes(self) -> list[str]:
        """All names in the folder. A damaged file adds none; it is told of when its own split is read."""
        found: set[str] = set()
        for path in sorted(self.folder.rglob("*.xml")):
            try:
                self._parsed[path] = parse(path)
            except DataError:
                continue
            found.update(_class_of(element) for element in self._parsed[path].findall("object"))
        found.discard("")
        if not found:
            raise DataError(f"{self.folder} holds no XML file with a named object; expected Pascal VOC annotations")
        return sorted(found)


def parse(path: Path) -> Element:
    """Parse one file; a document type (and with it every entity) is refused, as no annotation needs one."""
    try:
        root: Element = fromstring(path.read_bytes(), forbid_dtd=True)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; an image without objects has a file without objects") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except DefusedXmlException as error:
        raise DataError(f"{path} is refused: it declares a document type or entities, which can attack") from error
    except (ParseError, ValueError, LookupError) as error:  # LookupError: an encoding that does not exist
        raise DataError(f"{path} is not XML that can be read: {error}") from error
    if root.tag != "annotation":
        raise DataError(f"{path} begins with <{root.tag[:50]}>; expected <annotation>")
    return root


def _class_of(element: Element) -> str:
    return (element.findtext("name") or "").strip()


def _is_difficult(element: Element, where: str) -> bool:
    return to_number(element.findtext("difficult", "0").strip() or "0", f"{where}, difficult") != 0


def _declared_size(root: Element, path: Path) -> tuple[float, float] | None:
    size = root.find("size")
    if size is None:
        return None
    width, height = (to_number(size.findtext(side, "0"), f"{path}, {side}") for side in ("width", "height"))
    return width, height
