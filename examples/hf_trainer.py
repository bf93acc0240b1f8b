"""A Hugging Face model and Trainer: replace_loss is the only line that differs from what you have.

Run it: ``python examples/hf_trainer.py --steps 200``
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Trainer, TrainingArguments, YolosConfig, YolosForObjectDetection

from matchloss.criteria.huggingface import replace_loss
from matchloss.geometry import xyxy_to_cxcywh
from matchloss.recipes.data import BoxFolder, BoxSample  # or a Dataset of yours

HEIGHT, WIDTH = 96, 128


def collate(samples: list[BoxSample]) -> dict[str, Tensor | list[dict[str, Tensor]]]:
    """What the model is called with; an image processor gives the same."""
    images, labels = [], []
    for image, boxes, classes, ignore, _ in samples:
        height, width = image.shape[1:]
        images.append(F.interpolate(image[None] / 255, (HEIGHT, WIDTH), mode="bilinear", antialias=True)[0])
        boxes = xyxy_to_cxcywh(boxes) / torch.tensor([width, height, width, height])
        labels.append({"boxes": boxes, "class_labels": classes, "ignore": ignore})
    return {"pixel_values": torch.stack(images), "labels": labels}


def main() -> None:
    """Train a small YOLOS from random weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[1] / "samples" / "bccd")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("runs/hf_trainer"))
    arguments = parser.parse_args()

    data = BoxFolder(arguments.data, "train")
    print(data.describe())
    config = YolosConfig(
        image_size=[HEIGHT, WIDTH],
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=128,
        num_detection_tokens=40,
        id2label=dict(enumerate(data.classes)),
    )
    torch.manual_seed(0)
    model = replace_loss(YolosForObjectDetection(config))  # or .from_pretrained("hustvl/yolos-tiny")

    options = TrainingArguments(
        output_dir=str(arguments.out),
        max_steps=arguments.steps,
        per_device_train_batch_size=8,
        learning_rate=2e-3,
        lr_scheduler_type="constant",
        logging_steps=5,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,  # lines instead of a bar
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,  # the collator takes samples as they are
    )
    Trainer(model, options, train_dataset=data, data_collator=collate).train()


if __name__ == "__main__":
    main()
