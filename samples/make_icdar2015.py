"""Choose the ICDAR 2015 sample from the larger set: `python samples/make_icdar2015.py SOURCE [TARGET]`.

Rule, which holds no chance: of the photos of a list with at least three readable words whose shortest side has 20
pixels or more, as many as asked are taken at even distances. Photos are halved and encoded anew; quads are halved
exactly.
"""

import argparse
import math
from pathlib import Path

from PIL import Image

TAKE = {"train": 24, "val": 8}
WORDS, SIDE = 3, 20.0  # so many readable words of so many pixels or more
QUALITY = 90


def read_rows(path: Path) -> list[tuple[list[int], str]]:
    """The eight numbers and the transcription of each word."""
    rows = [line.split(",", 8) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [([int(field) for field in row[:8]], row[8]) for row in rows]


def large_words(rows: list[tuple[list[int], str]]) -> int:
    """How many words a person can read, also in half the size."""
    count = 0
    for numbers, text in rows:
        points = list(zip(numbers[::2], numbers[1::2], strict=True))
        sides = [math.dist(points[k], points[k - 1]) for k in range(4)]
        count += text != "###" and min(sides) >= SIDE
    return count


def choose(source: Path, split: str) -> list[str]:
    """The ids to take, in the order of the list."""
    ids = (source / f"{split}.txt").read_text().split()
    fit = [name for name in ids if large_words(read_rows(source / "gt" / f"gt_{name}.txt")) >= WORDS]
    if len(fit) < TAKE[split]:
        raise SystemExit(f"{source}: {len(fit)} photos of {split} fit, wanted {TAKE[split]}")
    return [fit[k * len(fit) // TAKE[split]] for k in range(TAKE[split])]


def halve(rows: list[tuple[list[int], str]]) -> str:
    """The annotation of a photo of half the size."""
    return "".join(",".join([*(f"{number / 2:g}" for number in numbers), text]) + "\n" for numbers, text in rows)


def main(source: Path, target: Path) -> None:
    """Write photos, annotations and the two lists."""
    for folder in ("images", "gt"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    for split in TAKE:
        ids = choose(source, split)
        for name in ids:
            with Image.open(source / "images" / f"{name}.jpg") as photo:
                small = photo.convert("RGB").resize((photo.width // 2, photo.height // 2), Image.Resampling.BOX)
            small.save(target / "images" / f"{name}.jpg", quality=QUALITY, optimize=True)
            rows = read_rows(source / "gt" / f"gt_{name}.txt")
            (target / "gt" / f"gt_{name}.txt").write_text(halve(rows), encoding="utf-8", newline="\n")
        (target / f"{split}.txt").write_text("".join(f"{name}\n" for name in ids))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder of the larger set")
    parser.add_argument("target", type=Path, nargs="?", default=Path(__file__).parent / "icdar2015")
    arguments = parser.parse_args()
    main(arguments.source, arguments.target)
