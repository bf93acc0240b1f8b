"""A detector of your own in a plain PyTorch loop: SetCriterion matches, compares and divides.

python examples/plain_loop.py --steps 200
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from matchloss.criteria import SetCriterion
from matchloss.geometry import xyxy_to_cxcywh
from matchloss.recipes.data import BoxFolder, BoxSample  # or a Dataset of yours

HEIGHT, WIDTH = 96, 128


class TinyDETR(nn.Module):
    """Convolutions, a transformer decoder whose queries look at them, and two heads."""

    def __init__(self, classes: int, *, queries: int = 40, width: int = 64, layers: int = 2) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            *(part for i in range(4) for part in (nn.LazyConv2d(width, 3, 2, 1), nn.GroupNorm(8, width), nn.ReLU()))
        )
        self.positions = nn.Parameter(torch.randn(HEIGHT // 16 * WIDTH // 16, width))
        self.queries = nn.Parameter(torch.randn(queries, width))
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True) for _ in range(layers)
        )
        self.class_head = nn.Linear(width, classes + 1)  # the last class is "no object"
        self.box_head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4))

    def forward(self, images: Tensor) -> dict[str, object]:
        """Predict from each layer; the criterion trains all of them."""
        memory = self.backbone(images).flatten(2).mT + self.positions
        hidden = self.queries.expand(len(images), -1, -1)
        outputs: list[dict[str, Tensor]] = []
        for layer in self.layers:
            hidden = layer(hidden, memory)
            outputs.append({"logits": self.class_head(hidden), "pred_boxes": self.box_head(hidden).sigmoid()})
        return {**outputs[-1], "auxiliary_outputs": outputs[:-1]}


def collate(samples: list[BoxSample]) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Images of one size, and one dict an image: class numbers, and boxes as fractions of the image."""
    images, targets = [], []
    for image, boxes, labels, ignore, _ in samples:
        height, width = image.shape[1:]
        images.append(F.interpolate(image[None] / 255, (HEIGHT, WIDTH), mode="bilinear", antialias=True)[0])
        boxes = xyxy_to_cxcywh(boxes) / torch.tensor([width, height, width, height])
        targets.append({"boxes": boxes, "labels": labels, "ignore": ignore})
    return torch.stack(images), targets


def main() -> None:
    """Train for some steps, and say how each term falls."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[1] / "samples" / "bccd")
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    data = BoxFolder(arguments.data, "train")
    print(data.describe())
    draw = torch.utils.data.RandomSampler(data, replacement=True, num_samples=8 * arguments.steps)
    loader = torch.utils.data.DataLoader(data, batch_size=8, sampler=draw, collate_fn=collate)

    model = TinyDETR(len(data.classes))
    model(torch.zeros(1, 3, HEIGHT, WIDTH))  # the lazy convolutions learn how many channels come in
    criterion = SetCriterion.detr(len(data.classes))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)

    for number, (images, targets) in enumerate(loader, 1):
        loss = criterion(model(images), targets)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        if number % 5 == 1 or number == arguments.steps:
            parts = "  ".join(f"{name} {loss.terms[name].item():.3f}" for name in ("class", "l1", "giou"))
            fit = f"{loss.stats['matched']} pairs, mean IoU {loss.stats['mean_iou']:.2f}"
            print(f"step {number:4}  loss {loss.total.item():.3f}  {parts}  ({fit})")


if __name__ == "__main__":
    main()
