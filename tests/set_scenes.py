"""A small scene for set prediction: an image with two objects, one with three and a crowd, one with nothing."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inputs import generator
from matchloss import QuerySet
from matchloss.types import Targets
from reference.set_criterion import Layer

CLASSES, QUERIES, GRID = 3, 7, (3, 4)
NAMES = ("logits", "pred_boxes", "pred_masks")

Outputs = dict[str, Any]
Annotation = Mapping[str, Tensor]


def annotation(boxes: list[list[float]], labels: list[int], size: tuple[int, int], **fields: Tensor) -> Annotation:
    """Boxes cxcywh in fractions, and the ellipses in them as masks."""
    corners = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)
    y = ((torch.arange(size[0]) + 0.5) / size[0]).view(1, -1, 1)
    x = ((torch.arange(size[1]) + 0.5) / size[1]).view(1, 1, -1)
    cx, cy, width, height = (side.view(-1, 1, 1) for side in corners.unbind(1))
    masks = ((x - cx) / width) ** 2 + ((y - cy) / height) ** 2 < 0.25
    return {"boxes": corners, "labels": torch.tensor(labels, dtype=torch.long), "masks": masks, **fields}


TWO = annotation(
    [[0.3, 0.4, 0.3, 0.5], [0.7, 0.6, 0.4, 0.3]],
    [1, 2],
    (12, 16),
    weights=torch.tensor([0.5, 2.0], dtype=torch.float64),
)
CROWDED = annotation(
    [[0.2, 0.3, 0.3, 0.3], [0.7, 0.65, 0.6, 0.7], [0.6, 0.2, 0.25, 0.3], [0.25, 0.75, 0.2, 0.4]],
    [0, 1, 2, 0],
    (9, 12),
    iscrowd=torch.tensor([0, 1, 0, 0]),
    weights=torch.tensor([1.5, 1.0, 1.0, 0.25], dtype=torch.float64),
)
NOTHING = annotation([], [], (12, 16))
ANNOTATIONS: list[Annotation] = [TWO, CROWDED, NOTHING]


def targets(annotations: Sequence[Annotation] = ANNOTATIONS) -> Targets:
    return Targets.from_list(annotations, box_format="cxcywh", normalized=True)


def weighed(weights: float | Sequence[float]) -> list[Annotation]:
    """The scene's annotations with one weight for all targets, or with these of the first image's."""
    if isinstance(weights, float):
        return [{**image, "weights": torch.full((len(image["labels"]),), weights)} for image in ANNOTATIONS]
    return [{**TWO, "weights": torch.tensor(weights)}, *ANNOTATIONS[1:]]


def layer(
    channels: int, *, images: int = 3, queries: int = QUERIES, masks: bool = False, seed: int = 0, dtype=torch.float64
) -> Outputs:
    """Random predictions of one layer."""
    rng = generator(seed)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(images, queries, 2, generator=rng, dtype=dtype)

    found = {
        "logits": 2 * torch.randn(images, queries, channels, generator=rng, dtype=dtype),
        "pred_boxes": torch.cat([uniform(0.2, 0.8), uniform(0.1, 0.5)], -1),
    }
    if masks:
        found["pred_masks"] = 2 * torch.randn(images, queries, *GRID, generator=rng, dtype=dtype)
    return found


def outputs(channels: int, *, auxiliary: int = 2, masks: bool = False, **options: Any) -> Outputs:
    """A last layer, auxiliary ones without masks, as DETR has them, and an encoder with more queries."""
    seed = options.pop("seed", 0)
    found = layer(channels, masks=masks, seed=10 * seed, **options)
    found["auxiliary_outputs"] = [layer(channels, seed=10 * seed + 1 + i, **options) for i in range(auxiliary)]
    options["queries"] = options.get("queries", QUERIES) + 4
    found["encoder_outputs"] = layer(channels, seed=10 * seed + 9, **options)
    return found


def each_layer(found: Outputs) -> Iterator[tuple[str, Outputs]]:
    """By the suffixes of their terms."""
    yield "", found
    for index, auxiliary in enumerate(found.get("auxiliary_outputs", [])):
        yield f"_aux_{index}", auxiliary
    if "encoder_outputs" in found:
        yield "_encoder", found["encoder_outputs"]


def mapped(values: Any, change: Any) -> Any:
    """The same structure with each tensor changed."""
    if isinstance(values, Tensor):
        return change(values)
    if isinstance(values, Targets | QuerySet):
        return values._replace(**{name: mapped(value, change) for name, value in values._asdict().items()})
    if isinstance(values, dict):
        return {name: mapped(value, change) for name, value in values.items()}
    return [mapped(value, change) for value in values] if isinstance(values, list) else values


def leaves(found: Outputs, dtype: torch.dtype | None = None) -> tuple[Outputs, list[Tensor]]:
    """The same outputs as leaves of the graph, and these in a list."""
    inputs: list[Tensor] = []

    def leaf(values: Tensor) -> Tensor:
        if not values.is_floating_point():
            return values
        inputs.append(values.detach().clone().to(dtype or values.dtype).requires_grad_())
        return inputs[-1]

    return mapped(found, leaf), inputs


def gradients(total: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(total, inputs, allow_unused=True, materialize_grads=True))


def arrays(annotations: Sequence[Annotation]) -> list[dict[str, np.ndarray]]:
    """As the reference reads images."""
    images = []
    for image in annotations:
        count = len(image["labels"])
        fields = {"ignore": image.get("iscrowd", torch.zeros(count)).bool(), "weights": torch.ones(count)}
        fields |= {name: image[name] for name in ("boxes", "labels", "weights", "masks") if name in image}
        images.append({name: field.numpy() for name, field in fields.items()})
    return images


def reference_layers(found: Outputs, groups: int = 1) -> dict[str, Layer]:
    """As the reference reads outputs; its names are those of the terms."""
    return {
        suffix: Layer(*(part[name].detach().numpy() if name in part else None for name in NAMES), groups=groups)
        for suffix, part in each_layer(found)
    }


def of_images(found: Any, part: slice) -> Any:
    """Outputs of some images."""
    return mapped(found, lambda values: values[part])
