"""The types that travel between the parts: Targets, Assignment, LossTerms, Detections."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

BoxFormat = Literal["xyxy", "cxcywh", "cxcywha"]


class LossTerms(NamedTuple):
    """What a criterion returns; the keys are the same on every step, whatever the batch holds."""

    total: Tensor
    """The scalar to call ``backward`` on: the sum of the terms."""
    terms: dict[str, Tensor]
    """Name -> weighted scalar, connected to the graph."""
    stats: dict[str, Tensor]
    """Name -> detached 0-dim tensor on the device, for logging without a sync."""


class Assignment(NamedTuple):
    """Which target each of A predictions is trained on."""

    target_index: Tensor
    """``(B, A)`` int64, 0-based index into the image's targets, -1 for background."""
    labels: Tensor
    """``(B, A)`` int64, class of the target, -1 for background."""
    scores: Tensor
    """``(B, A)`` float, soft class target of that class, 0 for background."""
    ignore: Tensor
    """``(B, A)`` bool, True where the prediction is neither positive nor negative."""


class Detections(NamedTuple):
    """Boxes found in a batch, the best first, padded to the same number an image."""

    boxes: Tensor
    """``(B, K, 4)`` xyxy in pixels; zeros where padded."""
    scores: Tensor
    """``(B, K)``, 0 where padded."""
    labels: Tensor
    """``(B, K)`` int64, -1 where padded."""
    valid: Tensor
    """``(B, K)`` bool, False where padded."""


class Targets(NamedTuple):
    """Annotations of a batch, padded to the largest image: one tensor a field, no loop over images."""

    labels: Tensor
    """``(B, M)`` int64, 0 where padded."""
    boxes: Tensor
    """``(B, M, 4)``, or ``(B, M, 5)`` for rotated boxes; zeros where padded."""
    valid: Tensor
    """``(B, M)`` bool, False where padded."""
    ignore: Tensor
    """``(B, M)`` bool, True for regions that are neither object nor background (crowds, unreadable words)."""
    weights: Tensor
    """``(B, M)`` float, 1 unless given."""
    masks: Tensor | None = None
    """``(B, M, H, W)`` bool, or None."""
    box_format: BoxFormat = "xyxy"
    normalized: bool = False
    """Whether boxes are fractions of the image size instead of pixels."""
    image_size: tuple[int, int] | None = None
    """``(H, W)`` of the images as the model sees them."""

    @classmethod
    def from_list(
        cls,
        annotations: Sequence[Mapping[str, Tensor]],
        *,
        box_format: BoxFormat = "xyxy",
        normalized: bool = False,
        image_size: tuple[int, int] | None = None,
    ) -> "Targets":
        """Pad a list with one dict an image, the form that torchvision, DETR and transformers use.

        Args:
            annotations: each with ``boxes (m, 4 or 5)`` and ``labels (m,)`` (or ``class_labels``), and, where known,
                ``ignore`` or ``iscrowd (m,)``, ``weights (m,)``, ``masks (m, H, W)``. An image without objects has
                tensors of length 0.
            box_format: what the box numbers mean; stated, not guessed.
            normalized: True for fractions of the image size.
            image_size: ``(H, W)``, needed by whoever converts between pixels and fractions.

        Raises:
            ValueError: a missing key, or fields of one image that differ in length.

        Example:
            >>> import torch
            >>> boxes = torch.tensor([[0.0, 0.0, 4.0, 2.0]])
            >>> none = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
            >>> targets = Targets.from_list([{"boxes": boxes, "labels": torch.tensor([7])}, none])
            >>> targets.valid
            tensor([[ True],
                    [False]])
        """
        if not annotations:
            raise ValueError("Targets.from_list: expected at least one image, got an empty list")
        images = [_read_image(index, image) for index, image in enumerate(annotations)]
        with_masks = sum("masks" in image for image in images)
        if with_masks not in (0, len(images)):
            raise ValueError(f"Targets.from_list: expected masks for all or no images, got {with_masks}/{len(images)}")
        most = max(len(image["labels"]) for image in images)

        def padded(name: str) -> Tensor:
            return torch.stack([_pad(image[name], most) for image in images])

        return cls(
            labels=padded("labels"),
            boxes=padded("boxes"),
            valid=padded("valid"),
            ignore=padded("ignore"),
            weights=padded("weights"),
            masks=padded("masks") if with_masks else None,
            box_format=box_format,
            normalized=normalized,
            image_size=image_size,
        )


def _read_image(index: int, image: Mapping[str, Tensor]) -> dict[str, Tensor]:
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
    lengths = {name: len(field) for name, field in fields.items()}
    if set(lengths.values()) != {count}:
        listed = ", ".join(f"{name}: {length}" for name, length in lengths.items() if name != "valid")
        raise ValueError(f"{caller}: expected as many of each field as boxes, got {listed}")
    return fields


def _pad(field: Tensor, length: int) -> Tensor:
    """Append zeros along the first dimension."""
    return torch.cat([field, field.new_zeros(length - len(field), *field.shape[1:])])
