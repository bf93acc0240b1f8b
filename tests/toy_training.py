"""A training small enough for tests, and a tiny folder of images; also a script that a test can kill."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from matchloss.recipes.data import DataError
from matchloss.recipes.settings import Machine, TrainSettings
from matchloss.types import LossTerms


@dataclass(frozen=True, kw_only=True)
class ToySettings(TrainSettings):
    steps: int = 23
    batch_size: int = 4
    warmup: int = 3
    lr: float = 0.01
    log_every: int = 1
    validate_every: int = 6
    save_every: int = 5
    dropout: float = 0.1
    bad_sample: int = -1
    pause: float = 0.0


class ToyTask:
    """Tell smooth from rough patches; made from nothing but the index and the generator that the engine hands over."""

    judged_by = "accuracy"
    training_size = 10

    def __init__(self, settings: ToySettings, run: Path) -> None:
        self.settings = settings
        self.memory: dict[str, Tensor] = {}
        dropout = nn.Dropout(settings.dropout)
        self.model = nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), dropout, nn.Flatten(), nn.Linear(288, 2)
        )

    def sample(self, index: int, rng: np.random.Generator, step: int) -> tuple[Tensor, int]:
        if index == self.settings.bad_sample:
            raise DataError(f"sample {index} is damaged: made so")
        image = rng.normal(size=(1, 8, 8)) * (0.2 + index % 2) + index
        return torch.from_numpy(image).float(), index % 2

    def collate(self, samples: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
        images, labels = zip(*samples, strict=True)
        return torch.stack(images), torch.tensor(labels)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> LossTerms:
        time.sleep(self.settings.pause)
        images, labels = batch
        cross_entropy = nn.functional.cross_entropy(model(images), labels)
        size = 0.01 * sum(parameter.square().sum() for parameter in model.parameters())
        terms = {"cross_entropy": cross_entropy, "size": size}
        return LossTerms(cross_entropy + size, terms, {"positives": labels.sum()})

    def validate(self, model: nn.Module, fabric: object) -> dict[str, float]:
        images, labels = self.collate([self.sample(index, np.random.default_rng(index), 0) for index in (4, 5, 6, 7)])
        probability = model(images).softmax(1).gather(1, labels[:, None]).mean()
        before = self.memory.get("probability", probability)
        self.memory = {"probability": probability.clone()}
        accuracy = float((model(images).argmax(1) == labels).float().mean())
        return {"accuracy": accuracy, "gain": float(probability - before)}

    def pictures(self, model: nn.Module, fabric: object) -> dict[str, Tensor]:
        return {"grey": torch.full((3, 8, 8), 128, dtype=torch.uint8)}


CPU = Machine(accelerator="cpu")


def run_toy(run: Path, settings: ToySettings = ToySettings(), machine: Machine = CPU, task: type = ToyTask) -> dict:
    from matchloss.recipes import launch
    from matchloss.recipes.checkpoint import load_checkpoint

    run.mkdir(exist_ok=True)
    launch.train(task, settings, run, machine)
    return load_checkpoint(run / "last.pt")


def history_without_times(run: Path) -> list[dict]:
    from matchloss.recipes.log import read_history

    times = ("seconds", "cpu_seconds")
    return [{name: value for name, value in record.items() if name not in times} for record in read_history(run)]


def assert_same_run(run: Path, other: Path) -> None:
    """Weights, their average, moments, best score and logged scalars are equal, bit for bit."""
    from matchloss.recipes.checkpoint import load_checkpoint

    for name in ("last.pt", "best.pt"):
        one, two = load_checkpoint(run / name), load_checkpoint(other / name)
        assert one["model"].keys() == two["model"].keys()
        assert all(torch.equal(one["model"][key], two["model"][key]) for key in one["model"])
        assert ("ema" in one) == ("ema" in two)
        if "ema" in one:
            assert one["ema"]["updates"] == two["ema"]["updates"]
            averages = one["ema"]["model"], two["ema"]["model"]
            assert all(torch.equal(averages[0][key], averages[1][key]) for key in one["model"])
        moments, moments_two = one["optimizer"]["state"], two["optimizer"]["state"]
        assert moments
        for index in moments:
            assert all(torch.equal(moments[index][key], moments_two[index][key]) for key in moments[index])
        for state in (one["state"], two["state"]):
            del state["seconds"], state["cpu_seconds"]
        assert one["state"] == two["state"]
    assert history_without_times(run) == history_without_times(other)


def fail_in_process(rank: int) -> None:
    raise DataError("images/3.png: expected a picture, got noise")


def blob_folder(root: Path, *, train: int = 4, val: int = 3, size: int = 40) -> Path:
    """Dark images with bright squares, in the layout of the sample data; 16-bit masks, so that they are instances."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        names = [f"{split}{number}" for number in range(count)]
        for name in names:
            labels = np.zeros((size, size - 3), np.uint16)
            for instance in range(1, 4):
                y, x = rng.integers(0, size - 10, 2)
                labels[y : y + 8, x : x + 8] = instance
            grey = 40 + 140 * (labels > 0) + rng.integers(0, 20, labels.shape)
            for folder, array in (("labels", labels), ("images", np.repeat(grey[..., None], 3, 2).astype(np.uint8))):
                (root / folder).mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(root / folder / f"{name}.png")
        (root / f"{split}.txt").write_text("\n".join(names))
    return root


COLORS = {"brick": (200, 60, 40), "leaf": (50, 170, 60)}


def rectangle_folder(root: Path, *, train: int = 6, val: int = 3, width: int = 96, height: int = 64) -> Path:
    """Grey images with coloured rectangles, as Pascal VOC; the first of each split holds none."""
    rng = np.random.default_rng(0)
    for folder in ("JPEGImages", "Annotations"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for split, count in (("train", train), ("val", val)):
        names = [f"{split}{number}" for number in range(count)]
        for number, name in enumerate(names):
            pixels, objects = rng.integers(90, 130, (height, width, 3)).astype(np.uint8), ""
            for kind, color in list(COLORS.items()) * min(number, 2):
                x, y = rng.integers(0, width - 30), rng.integers(0, height - 26)
                w, h = rng.integers(16, 30), rng.integers(14, 26)
                pixels[y : y + h, x : x + w] = color
                sides = f"<xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax>"
                objects += f"<object><name>{kind}</name><bndbox>{sides}</bndbox></object>"
            Image.fromarray(pixels).save(root / "JPEGImages" / f"{name}.jpg", quality=95)
            size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
            text = f"<annotation><filename>{name}.jpg</filename>{size}{objects}</annotation>"
            (root / "Annotations" / f"{name}.xml").write_text(text)
        (root / f"{split}.txt").write_text("\n".join(names))
    return root


def save_small_segformer(folder: Path) -> Path:
    """A SegFormer with 7 classes, as somebody may have saved one."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    small = {"depths": [1] * 4, "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1] * 4}
    config = SegformerConfig(num_labels=7, decoder_hidden_size=16, **small)
    SegformerForSemanticSegmentation(config).save_pretrained(folder)
    return folder


if __name__ == "__main__":  # toy_training.py RUN '{"pause": 0.1}'
    from matchloss.recipes.launch import train

    torch.set_num_threads(1)
    train(ToyTask, ToySettings(**json.loads(sys.argv[2])), Path(sys.argv[1]), Machine(accelerator="cpu"))
