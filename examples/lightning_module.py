"""A LightningModule around any model that gives logits and boxes: every term and count goes to the log.

Run it: ``python examples/lightning_module.py --steps 200``
"""

import argparse
from pathlib import Path

import lightning
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import YolosConfig, YolosForObjectDetection

from matchloss.criteria import SetCriterion
from matchloss.geometry import xyxy_to_cxcywh
from matchloss.recipes.data import BoxFolder, BoxSample  # or a Dataset of yours

HEIGHT, WIDTH = 96, 128
Batch = tuple[Tensor, list[dict[str, Tensor]]]


def collate(samples: list[BoxSample]) -> Batch:
    """Images of one size, and one dict an image: class numbers, and boxes as fractions of the image."""
    images, targets = [], []
    for image, boxes, labels, ignore, _ in samples:
        height, width = image.shape[1:]
        images.append(F.interpolate(image[None] / 255, (HEIGHT, WIDTH), mode="bilinear", antialias=True)[0])
        boxes = xyxy_to_cxcywh(boxes) / torch.tensor([width, height, width, height])
        targets.append({"boxes": boxes, "labels": labels, "ignore": ignore})
    return torch.stack(images), targets


class SetDetector(lightning.LightningModule):
    """Model and criterion, which divides by the objects of all processes: their number changes no gradient."""

    def __init__(self, model: torch.nn.Module, num_classes: int) -> None:
        super().__init__()
        self.model, self.criterion = model, SetCriterion.yolos(num_classes)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """The total has a gradient; terms and stats are for reading."""
        return self._step("train", batch)

    def validation_step(self, batch: Batch, index: int) -> None:
        """The same on images that are not trained on."""
        self._step("val", batch)

    def _step(self, stage: str, batch: Batch) -> Tensor:
        images, targets = batch
        outputs = self.model(pixel_values=images)
        loss = self.criterion({"logits": outputs.logits, "pred_boxes": outputs.pred_boxes}, targets)
        self.log(f"{stage}/loss", loss.total, prog_bar=True, batch_size=len(images))
        parts = {f"{stage}/{name}": value.detach().float() for name, value in {**loss.terms, **loss.stats}.items()}
        self.log_dict(parts, batch_size=len(images))
        return loss.total

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One rate for all weights."""
        return torch.optim.AdamW(self.parameters(), lr=2e-3)


def main() -> None:
    """Train a small YOLOS from random weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[1] / "samples" / "bccd")
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()

    lightning.seed_everything(0)
    train, val = BoxFolder(arguments.data, "train"), BoxFolder(arguments.data, "val")
    print(train.describe())
    sizes = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128}
    config = YolosConfig(image_size=[HEIGHT, WIDTH], num_detection_tokens=40, num_labels=len(train.classes), **sizes)
    detector = SetDetector(YolosForObjectDetection(config), len(train.classes))

    trainer = lightning.Trainer(max_steps=arguments.steps, logger=False, enable_checkpointing=False)
    batches = torch.utils.data.DataLoader(train, 8, shuffle=True, collate_fn=collate)
    trainer.fit(detector, batches, torch.utils.data.DataLoader(val, 8, collate_fn=collate))
    for name, value in sorted(trainer.callback_metrics.items()):
        print(f"{name:24} {value.item():.3f}")


if __name__ == "__main__":
    main()
