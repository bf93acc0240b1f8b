"""The types that travel between the parts: targets and predictions, who is matched with whom, the loss."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ._annotations import pad_rows, pad_to_one_size, read_image

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


class Matching(NamedTuple):
    """One query for each target at most, and one target for each query: what a Hungarian matching gives.

    Leading dimensions, such as decoder layers, are those of the predictions.
    """

    query_of_target: Tensor
    """``(..., B, M)`` int64, -1 for a target without a query: padding, an ignore region, one too many, a broken one."""
    target_of_query: Tensor
    """``(..., B, Q)`` int64, -1 for no object."""
    stats: dict[str, Tensor]
    """0-dim counts: ``matched`` targets, ``surplus`` ones without a query left, ``broken`` (non-finite) pairs."""

    def pairs(self) -> list[Any]:
        """DETR's list form: an image's ``(queries, targets)``, int64, sorted by query; with layers a list of lists.

        The lengths depend on the data, so this waits for the device; criteria use the padded form.

        Example:
            >>> matching = Matching(torch.tensor([[3, 0, -1]]), torch.tensor([[1, -1, -1, 0]]), {})
            >>> matching.pairs()
            [(tensor([0, 3]), tensor([1, 0]))]
        """
        if self.query_of_target.ndim > 2:
            parts = zip(self.query_of_target, self.target_of_query, strict=True)
            return [Matching(queries, targets, self.stats).pairs() for queries, targets in parts]
        return [_sorted_pairs(queries) for queries in self.query_of_target]


def _sorted_pairs(query_of_target: Tensor) -> tuple[Tensor, Tensor]:
    """Of one image, from ``(M,)``."""
    targets = (query_of_target >= 0).nonzero().squeeze(1)
    queries, order = query_of_target[targets].sort(stable=True)
    return queries, targets[order]


class MatchingCost(NamedTuple):
    """What each query would cost each target, before weights, and the weighted sum that a matching minimises."""

    class_cost: Tensor
    """``(..., B, Q, M)``; all of these are views of target-major memory."""
    l1: Tensor
    giou: Tensor
    total: Tensor
    """inf for padding, ignore regions, and whatever else cannot be matched."""
    mask: Tensor | None = None
    dice: Tensor | None = None


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


class TextDetections(NamedTuple):
    """Words found in a batch, the best first, padded to the same number an image."""

    quads: Tensor
    """``(B, K, 4, 2)`` corners in pixels, clockwise on the screen from the word's top left; zeros where padded."""
    scores: Tensor
    """``(B, K)``, in [0, 1]; 0 where padded."""
    valid: Tensor
    """``(B, K)`` bool, False where padded."""


class EASTMaps(NamedTuple):
    """What EAST is to predict at each pixel of its output: a batch of target maps, of ``(h, w)`` cells."""

    score: Tensor
    """``(B, 1, h, w)`` float, 1 inside the shrunk words."""
    geometry: Tensor
    """``(B, 5, h, w)``: distances to the four edges, in pixels of the input, and the angle, in radians,
    counter-clockwise on the screen; or ``(B, 8, h, w)``: x and y offsets to the four corners. 0 where the score is."""
    mask: Tensor
    """``(B, 1, h, w)`` bool, False where a pixel must not count: unreadable, tiny and hidden words."""
    word_index: Tensor
    """``(B, h, w)`` int64, which word of its image a pixel belongs to, -1 for background."""
    shortest_edge: Tensor
    """``(B, 1, h, w)`` length of the shortest edge of the pixel's word, in pixels of the input; 0 in the background."""


class DBMaps(NamedTuple):
    """What differentiable binarisation is to predict at each pixel: a batch of target maps, of ``(h, w)`` cells."""

    score: Tensor
    """``(B, 1, h, w)`` float, 1 inside the shrunk words."""
    mask: Tensor
    """``(B, 1, h, w)`` bool, False where the score must not count."""
    threshold: Tensor
    """``(B, 1, h, w)`` float, highest on the words' outlines."""
    threshold_mask: Tensor
    """``(B, 1, h, w)`` bool, True in the words and around them, where alone the threshold is compared."""


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
    """``(B, M, H, W)`` bool, or None; False where padded."""
    box_format: BoxFormat = "xyxy"
    normalized: bool = False
    """Whether boxes are fractions of the image size instead of pixels."""
    image_size: tuple[int, int] | None = None
    """``(H, W)`` of the images as the model sees them."""
    pixels: Tensor | None = None
    """``(B, H, W)`` bool, False where an image was padded; None where every pixel of the masks belongs to its image."""

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
                ``ignore`` or ``iscrowd (m,)``, ``weights (m,)``, ``masks (m, H, W)``, ``pixels (H, W)``, False where
                the image is padding. An image without objects has tensors of length 0. Masks of images of different
                sizes are padded at the right and the bottom, and ``pixels`` of the result says where.
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
        images = [read_image(index, image) for index, image in enumerate(annotations)]
        with_masks = sum("masks" in image for image in images)
        if with_masks not in (0, len(images)):
            raise ValueError(f"Targets.from_list: expected masks for all or no images, got {with_masks}/{len(images)}")
        pad_to_one_size(images)
        most = max(len(image["labels"]) for image in images)

        def padded(name: str) -> Tensor:
            return torch.stack([pad_rows(image[name], most) for image in images])

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
            pixels=torch.stack([image["pixels"] for image in images]) if "pixels" in images[0] else None,
        )


class QuerySet(NamedTuple):
    """Predictions that are matched with their own targets, at their own weight.

    Decoder layers, the encoder's proposals, denoising queries and further queries with one-to-many targets are all
    such sets. The criterion builds those of the common keys; others go in under ``outputs["query_sets"]``, by name.
    Every rank needs the same ones in a step, since their counts are summed together.
    """

    logits: Tensor
    """``(L, B, Q, C)``, L layers that share targets."""
    boxes: Tensor
    """``(L, B, Q, 4)`` cxcywh in fractions of the image."""
    masks: Tensor | None = None
    """``(L, B, Q, h, w)`` logits."""
    targets: Targets | None = None
    """Targets of this set, None for those of the batch."""
    target_of_query: Tensor | None = None
    """``(B, Q)`` int64 where it is known beforehand, as for denoising queries; -1 for no object. None: match."""
    counted: Tensor | None = None
    """``(B, Q)`` bool beside ``target_of_query``, False for padded slots, which cost nothing."""
    repeats: int = 1
    """How often each target stands among the targets: so many queries are matched with it (H-DETR)."""
    groups: int = 1
    """Into how many groups of equal size the queries are split, each matched by itself (Group DETR)."""
    weight: float = 1.0
    """Factor of all terms of the set."""
