"""Choose the nuclei sample from the larger set: `python samples/make_nuclei.py SOURCE [TARGET]`.

Rule, which holds no chance: the images of a list fall into four strata by look, and of each stratum the first ids in
alphabetical order are taken (ids are hashes, so this is as good as drawing lots). The counts in `TAKE` weigh stained
tissue a little more than the source does, so that a short training meets it often enough.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

# stratum: how many of the train list and of the val list
TAKE = {"dim": (13, 3), "fluorescent": (18, 5), "pink": (6, 3), "pale": (3, 1)}


def stratum(rgb: np.ndarray) -> str:
    """The look of an image, by its mean brightness and its mean chroma (largest minus smallest channel), 0..255."""
    brightness = rgb.mean()
    chroma = (rgb.max(axis=2).astype(float) - rgb.min(axis=2)).mean()
    if brightness < 100:  # light objects on black; none of the source lies between 58 and 142
        return "dim" if brightness < 10 else "fluorescent"
    return "pink" if chroma >= 40 else "pale"  # tissue stained purple on pink, and purple on nearly white


def choose(source: Path, split: int, ids: list[str]) -> list[str]:
    """The ids to take, sorted; fewer than asked of a stratum is an error."""
    left = {name: counts[split] for name, counts in TAKE.items()}
    chosen = []
    for name in sorted(ids):
        look = stratum(read_rgb(source / "images" / f"{name}.png"))
        if left[look]:
            left[look] -= 1
            chosen.append(name)
    if any(left.values()):
        raise SystemExit(f"{source}: too few images, still wanted: {left}")
    return chosen


def read_rgb(path: Path) -> np.ndarray:
    """Pixels without alpha, which is 255 throughout the source."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def main(source: Path, target: Path) -> None:
    """Write images (RGB), labels (16 bits) and the two lists."""
    for folder in ("images", "labels"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    for split, part in enumerate(("train", "val")):
        ids = choose(source, split, (source / f"{part}.txt").read_text().split())
        for name in ids:
            rgb = read_rgb(source / "images" / f"{name}.png")
            Image.fromarray(rgb).save(target / "images" / f"{name}.png", optimize=True)
            with Image.open(source / "labels" / f"{name}.png") as label:
                label.save(target / "labels" / f"{name}.png", optimize=True)
        (target / f"{part}.txt").write_text("".join(f"{name}\n" for name in ids))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder of the larger set")
    parser.add_argument("target", type=Path, nargs="?", default=Path(__file__).parent / "nuclei")
    arguments = parser.parse_args()
    main(arguments.source, arguments.target)
