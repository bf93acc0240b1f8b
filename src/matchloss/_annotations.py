"""Annotations of images as people have them, one dict an image: names, dtypes and sizes brought together."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

MAPS = {"masks", "pixels"}
"""Fields of an image's annotation that have a height and a width."""


def read_image(index: int, image: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring one image's dict to the names and dtypes of Targets, and check that its fields agree."""
    caller = f"Targets.from_list: image {index}"
    labels = image.get("labels", image.get("class_labels"))
    if labels is None or "boxes" not in image:
        raise ValueError(f"{caller}: expected keys 'labels' (or 'class_labels') and 'boxes', got {sorted(image)}")
    boxes = image["boxes"]
    if boxes.ndim != 2 or boxes.shape[1] not in (4, 5):
        raise ValueError(f"{caller}: expected boxes of shape (m, 4) or (m, 5), got {tuple(boxes.shape)}")
    count, device = len(boxes), boxes.device
    no_ignore = torch.zeros(count, dtype=torch.bool, device=device)
    fields = {
        "labels": labels.to(torch.int64),
        "boxes": boxes if boxes.is_floating_point() else boxes.float(),
        "valid": ~no_ignore,
        "ignore": image.get("ignore", image.get("iscrowd", no_ignore)).bool(),
        "weights": image.get("weights", torch.ones(count, device=device)),
    }
    if "masks" in image:
        fields["masks"] = image["masks"].bool()
        if fields["masks"].ndim != 3:
            raise ValueError(f"{caller}: expected masks of shape (m, H, W), got {tuple(fields['masks'].shape)}")
    lengths = {name: len(field) for name, field in fields.items()}
    if set(lengths.values()) != {count}:
        listed = ", ".join(f"{name}: {length}" for name, length in lengths.items() if name != "valid")
        raise ValueError(f"{caller}: expected as many of each field as boxes, got {listed}")
    if "pixels" in image:
        fields["pixels"] = image["pixels"].bool()
        size = fields["masks"].shape[1:] if "masks" in fields else fields["pixels"].shape
        if fields["pixels"].ndim != 2 or fields["pixels"].shape != size:
            raise ValueError(
                f"{caller}: expected pixels of shape (H, W), that of the masks, got {tuple(fields['pixels'].shape)}"
            )
    return fields


def pad_to_one_size(images: list[dict[str, Tensor]]) -> None:
    """Pad masks to the largest height and width in place, and note the pixels of each image where any are padding."""
    sizes = [image["masks" if "masks" in image else "pixels"].shape[-2:] for image in images if image.keys() & MAPS]
    if len(set(sizes)) < 2 and not any("pixels" in image for image in images):
        return
    if len(sizes) < len(images):
        raise ValueError(f"Targets.from_list: expected pixels for all or no images, got {len(sizes)}/{len(images)}")
    height, width = (max(sides) for sides in zip(*sizes, strict=True))
    for image, (own_height, own_width) in zip(images, sizes, strict=True):
        image.setdefault("pixels", torch.ones(own_height, own_width, dtype=torch.bool, device=image["boxes"].device))
        for name in image.keys() & MAPS:
            image[name] = F.pad(image[name], (0, width - own_width, 0, height - own_height))


def pad_rows(field: Tensor, length: int) -> Tensor:
    """Append zeros along the first dimension."""
    return torch.cat([field, field.new_zeros(length - len(field), *field.shape[1:])])
