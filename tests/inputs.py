"""Example inputs of the losses: float64, small, the same on each call."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Inputs:
    """Example tensors of one loss."""

    predictions: Tensor
    targets: Tensor
    mask_shape: tuple[int, ...]
    """Shape of `mask` and `weights`: of the labels for class logits, else of the predictions."""
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    """Further tensors the loss needs, by keyword."""

    def over_predictions(self, mask: Tensor) -> Tensor:
        """A mask of `mask_shape` with the dimensions it lacks: the coordinates come last, the classes second."""
        if mask.shape == self.predictions.shape[: mask.ndim]:
            return mask.reshape(*mask.shape, *[1] * (self.predictions.ndim - mask.ndim))
        return mask.unsqueeze(1)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def class_logits(batch: int, *, classes: int = 4, size: tuple[int, ...] = (3, 5)) -> Inputs:
    """(N, C, *) logits with labels, some ignored."""
    rng = generator(0)
    logits = 2 * torch.randn(batch, classes, *size, generator=rng, dtype=torch.float64)
    labels = torch.randint(0, classes, (batch, *size), generator=rng)
    labels[torch.rand(labels.shape, generator=rng) < 0.2] = -100
    return Inputs(logits, labels, tuple(labels.shape))


def class_logits_255(batch: int) -> Inputs:
    """The same with the other common label to ignore; combine with `ignore_index=255`."""
    inputs = class_logits(batch)
    return Inputs(inputs.predictions, inputs.targets.where(inputs.targets >= 0, 255), inputs.mask_shape)


def class_distributions(batch: int) -> Inputs:
    """(N, C, *) logits with soft targets of the same shape."""
    rng = generator(1)
    logits = 2 * torch.randn(batch, 4, 3, 5, generator=rng, dtype=torch.float64)
    targets = torch.randn(batch, 4, 3, 5, generator=rng, dtype=torch.float64).softmax(1)
    return Inputs(logits, targets, (batch, 3, 5))


def binary_logits(batch: int) -> Inputs:
    """(N, *) logits with targets in [0, 1]: zeros, ones and values between."""
    rng = generator(2)
    logits = 2 * torch.randn(batch, 4, 3, generator=rng, dtype=torch.float64)
    targets = (torch.rand(logits.shape, generator=rng, dtype=torch.float64) * 3 - 1).clamp(0, 1)
    return Inputs(logits, targets, tuple(logits.shape))


def anchor_labels(batch: int) -> Inputs:
    """(N, A, C) logits with labels: classes, -1 background, -100 ignored."""
    rng = generator(3)
    logits = 2 * torch.randn(batch, 6, 4, generator=rng, dtype=torch.float64)
    labels = torch.randint(-1, 4, (batch, 6), generator=rng)
    labels[torch.rand(labels.shape, generator=rng) < 0.2] = -100
    return Inputs(logits, labels, tuple(logits.shape))


def anchor_scores(batch: int) -> Inputs:
    """The same with a soft score beside each label, 0 for some of them."""
    inputs = anchor_labels(batch)
    scores = (torch.rand(inputs.targets.shape, generator=generator(5), dtype=torch.float64) * 1.5 - 0.5).clamp(min=0)
    return Inputs(inputs.predictions, inputs.targets, inputs.mask_shape, {"scores": scores})


def value_pairs(batch: int) -> Inputs:
    """(N, 4) numbers with targets near and far."""
    rng = generator(4)
    predictions = 2 * torch.randn(batch, 4, generator=rng, dtype=torch.float64)
    targets = predictions + torch.randn(batch, 4, generator=rng, dtype=torch.float64)
    return Inputs(predictions, targets, tuple(predictions.shape))


def absent_classes(batch: int) -> Inputs:
    """Class logits whose last class is in no image and whose first image has one class alone."""
    inputs = class_logits(batch)
    labels = inputs.targets.where(inputs.targets != 3, 0)
    labels[:1] = labels[:1].clamp(max=0)
    return Inputs(inputs.predictions, labels, inputs.mask_shape)


def binary_maps(batch: int) -> Inputs:
    """(N, C, *) logits with hard maps; the last map of each image is empty."""
    rng = generator(5)
    logits = 2 * torch.randn(batch, 3, 4, 5, generator=rng, dtype=torch.float64)
    targets = (torch.rand(logits.shape, generator=rng) < 0.4).double()
    targets[:, -1] = 0
    return Inputs(logits, targets, tuple(logits.shape))


def map_labels(batch: int) -> Inputs:
    """(N, C, *) logits with (N, *) labels: classes, -1 background, -100 ignored."""
    rng = generator(6)
    logits = 2 * torch.randn(batch, 3, 4, 5, generator=rng, dtype=torch.float64)
    labels = torch.randint(-1, 2, (batch, 4, 5), generator=rng)
    labels[torch.rand(labels.shape, generator=rng) < 0.2] = -100
    return Inputs(logits, labels, tuple(logits.shape))


def bin_logits(batch: int) -> Inputs:
    """(N, bins) logits with targets between the bins, on them, at the last one and beyond."""
    rng = generator(20)
    logits = 2 * torch.randn(batch, 5, generator=rng, dtype=torch.float64)
    targets = torch.tensor([1.3, 4.0, 6.5], dtype=torch.float64)[:batch]
    return Inputs(logits, targets, tuple(targets.shape))


def binary_labels(batch: int) -> Inputs:
    """(N, *) logits with integer maps of 0 and 1, some ignored; the first image is without foreground."""
    rng = generator(21)
    logits = 2 * torch.randn(batch, 3, 4, generator=rng, dtype=torch.float64)
    targets = torch.randint(0, 2, logits.shape, generator=rng)
    targets[:1] = 0
    targets[torch.rand(targets.shape, generator=rng) < 0.2] = -100
    return Inputs(logits, targets, tuple(logits.shape))


def class_volumes(batch: int) -> Inputs:
    """(N, C, D, H, W) logits with labels, some ignored."""
    return class_logits(batch, classes=3, size=(3, 4, 3))


def binary_volumes(batch: int) -> Inputs:
    """(N, D, H, W) logits without classes, with hard maps; the first is empty."""
    rng = generator(22)
    logits = 2 * torch.randn(batch, 3, 4, 3, generator=rng, dtype=torch.float64)
    targets = (torch.rand(logits.shape, generator=rng) < 0.4).double()
    targets[:1] = 0
    return Inputs(logits, targets, tuple(logits.shape))


def given_distances(batch: int) -> Inputs:
    """Class logits with labels and a map of distances."""
    inputs = class_logits(batch)
    distances = torch.randn(inputs.predictions.shape, generator=generator(23), dtype=torch.float64)
    return Inputs(inputs.predictions, inputs.targets, inputs.mask_shape, {"distance_maps": distances})


def extreme_logits(inputs: Inputs) -> Iterator[Inputs]:
    """Logits far beyond any probability, all zero, all but zero."""
    signs = inputs.predictions.sign()
    for logits in (1e4 * signs, -1e4 * signs, 20 * signs, torch.zeros_like(signs), inputs.predictions * 1e-30):
        yield replace(inputs, predictions=logits)


def box_pairs(batch: int) -> Inputs:
    """(N, 5, 4) xyxy boxes: near the target, inside it, around it, apart from it, across it; no two sides in line."""
    rng = generator(30)
    pairs = torch.tensor(
        [
            [[1.0, 2.0, 7.0, 8.0], [2.0, 1.5, 9.0, 7.5]],
            [[4.0, 4.0, 6.0, 7.0], [2.0, 1.0, 9.0, 9.0]],
            [[-3.0, 0.0, 12.0, 11.0], [1.0, 2.0, 6.0, 5.0]],
            [[0.0, 0.0, 3.0, 2.0], [6.0, 9.0, 8.0, 15.0]],
            [[-5.0, 3.0, 9.0, 4.0], [2.0, -6.0, 3.0, 8.0]],
        ],
        dtype=torch.float64,
    )
    pairs = pairs + 0.4 * torch.rand(batch, *pairs.shape, generator=rng, dtype=torch.float64)
    return Inputs(pairs[:, :, 0], pairs[:, :, 1], (batch, len(pairs[0])))


def extreme_boxes(inputs: Inputs) -> Iterator[Inputs]:
    """Boxes without area, inverted, equal to their targets, far away, tiny and huge, within the range of float16."""
    yield from extreme_logits(inputs)
    boxes, targets = inputs.predictions, inputs.targets
    low, high = boxes[..., :2], boxes[..., 2:]
    odd = {
        "point": torch.cat([low, low], -1),
        "line": torch.cat([low, torch.stack([high[..., 0], low[..., 1]], -1)], -1),
        "inverted": torch.cat([high, low], -1),
        "far": boxes + 3e4,
        "huge": 4e3 * boxes,
        "tiny": targets[..., [0, 1, 0, 1]] + 1e-3 * boxes,
    }
    for one in odd.values():
        yield replace(inputs, predictions=one)
        yield replace(inputs, targets=one)
        # What half precision makes of a box, so that the two are equal in every dtype.
        same = one.bfloat16().half().to(one.dtype)
        yield replace(inputs, predictions=same, targets=same)
        yield replace(inputs, predictions=same[..., [2, 3, 0, 1]], targets=same)
    yield replace(inputs, predictions=1e-3 * boxes, targets=1e-3 * targets)
    yield replace(inputs, predictions=targets)


def edge_pairs(batch: int) -> Inputs:
    """(N, 5, 4) distances: near the target, within it, around it, longer in one axis, and with the point outside."""
    rng = generator(31)
    pairs = torch.tensor(
        [
            [[3.0, 5.0, 4.0, 6.0], [4.0, 4.0, 3.0, 7.0]],
            [[1.0, 2.0, 1.5, 2.5], [6.0, 7.0, 5.0, 8.0]],
            [[9.0, 8.0, 7.0, 6.0], [2.0, 1.0, 2.5, 1.5]],
            [[1.0, 9.0, 8.0, 1.5], [8.0, 2.0, 2.0, 9.0]],
            [[-1.0, 6.0, 9.0, -0.6], [2.0, 7.0, 5.0, 3.0]],
        ],
        dtype=torch.float64,
    )
    pairs = pairs + 0.4 * torch.rand(batch, *pairs.shape, generator=rng, dtype=torch.float64)
    return Inputs(pairs[:, :, 0], pairs[:, :, 1], (batch, len(pairs[0])))


def extreme_edges(inputs: Inputs) -> Iterator[Inputs]:
    """Distances that are zero on one axis or on both, negative, tiny, huge, and equal to their targets."""
    yield from extreme_logits(inputs)
    edges, targets = inputs.predictions, inputs.targets
    on_one_axis = torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    for one in (0 * edges, on_one_axis * edges, -edges, 3e3 * edges, -3e3 * edges, 1e-3 * edges):
        yield replace(inputs, predictions=one)
        yield replace(inputs, targets=one)
        same = one.bfloat16().half().to(one.dtype)
        yield replace(inputs, predictions=same, targets=same)
    yield replace(inputs, predictions=1e-3 * edges, targets=1e-3 * targets)
    yield replace(inputs, predictions=3e3 * edges, targets=3e3 * targets)


def angle_pairs(batch: int) -> Inputs:
    """(N, 4) angles, some of them whole turns away."""
    rng = generator(32)
    angles = 4 * torch.randn(batch, 4, generator=rng, dtype=torch.float64)
    targets = angles + torch.randn(batch, 4, generator=rng, dtype=torch.float64)
    return Inputs(angles, targets, tuple(angles.shape))


def rotated_pairs(batch: int) -> Inputs:
    """(N, 5, 5) boxes turned any way: near the target, inside it, around it, apart from it, across it; sides apart."""
    rng = generator(33)
    pairs = torch.tensor(
        [
            [[4.0, 5.0, 6.0, 3.0, 0.3], [4.5, 4.6, 7.0, 3.5, 0.6]],
            [[5.0, 4.0, 2.0, 1.5, -0.8], [5.5, 5.0, 9.0, 7.0, 0.4]],
            [[5.0, 5.0, 14.0, 12.0, 2.0], [3.5, 4.0, 5.0, 3.0, -0.4]],
            [[1.0, 1.0, 3.0, 2.0, 0.9], [9.0, 12.0, 4.0, 2.0, -1.2]],
            [[2.0, 3.0, 14.0, 1.5, 1.2], [2.5, 2.0, 13.0, 1.0, -0.2]],
        ],
        dtype=torch.float64,
    )
    pairs = pairs + 0.2 * torch.rand(batch, *pairs.shape, generator=rng, dtype=torch.float64)
    return Inputs(pairs[:, :, 0], pairs[:, :, 1], (batch, len(pairs[0])))


def extreme_rotated(inputs: Inputs) -> Iterator[Inputs]:
    """Rotated boxes without area, of negative size, thin, far away, tiny, huge, equal to their targets."""
    yield from extreme_logits(inputs)
    boxes, targets = inputs.predictions, inputs.targets
    factors = {
        "point": (1.0, 1.0, 0.0, 0.0, 1.0),
        "line": (1.0, 1.0, 1.0, 0.0, 1.0),
        "upright line": (1.0, 1.0, 0.0, 1.0, 0.0),
        "negative": (1.0, 1.0, -1.0, 1.0, 1.0),
        "thin": (1.0, 1.0, 100.0, 1e-3, 1.0),
        "huge": (4e3, 4e3, 4e3, 4e3, 1.0),
        "tiny": (1e-3, 1e-3, 1e-3, 1e-3, 1.0),
        "turned often": (1.0, 1.0, 1.0, 1.0, 1e3),
        "upright": (1.0, 1.0, 1.0, 1.0, 0.0),
    }
    odd = [boxes * torch.tensor(factor, dtype=boxes.dtype) for factor in factors.values()]
    odd.append(boxes + torch.tensor([3e4, -3e4, 0.0, 0.0, 0.0], dtype=boxes.dtype))
    for one in odd:
        yield replace(inputs, predictions=one)
        yield replace(inputs, targets=one)
        same = one.bfloat16().half().to(one.dtype)
        yield replace(inputs, predictions=same, targets=same)
    tiny = torch.tensor(factors["tiny"], dtype=boxes.dtype)
    yield replace(inputs, predictions=tiny * boxes, targets=tiny * targets)
    yield replace(inputs, predictions=targets)


def quad_pairs(batch: int) -> Inputs:
    """(N, 4, 4, 2) quads in each order of the corners: near their targets, away by pixels, no corner on a kink."""
    rng = generator(40)
    word = torch.tensor([[1.0, 2.0], [9.0, 3.0], [8.5, 6.0], [0.5, 5.5]], dtype=torch.float64)
    targets = word + torch.rand(batch, 4, 4, 2, generator=rng, dtype=torch.float64)
    shifts = torch.tensor([0.3, 4.0, 0.2, 2.5], dtype=torch.float64)[:, None, None]
    noise = torch.rand(targets.shape, generator=rng, dtype=torch.float64) * 0.4
    quads = torch.stack([targets[:, first].roll(first, 1) for first in range(4)], 1) + shifts + noise
    return Inputs(quads, targets, (batch, 4))


def measured_quads(batch: int) -> Inputs:
    """The same with the lengths of edges given, which are not those of the targets."""
    inputs = quad_pairs(batch)
    edges = torch.rand(batch, 4, generator=generator(41), dtype=torch.float64) + 2
    return Inputs(inputs.predictions, inputs.targets, inputs.mask_shape, {"shortest_edge": edges})


def extreme_quads(inputs: Inputs) -> Iterator[Inputs]:
    """Quads far away, equal to their targets, and targets without a side, a height or an area."""
    yield from extreme_logits(inputs)
    targets = inputs.targets
    for odd in (
        targets[..., [0, 0, 2, 3], :],
        targets[..., [0, 1, 1, 0], :],
        targets[..., [0, 0, 0, 0], :],
        1e-3 * targets,
        targets + 3e4,
        torch.zeros_like(targets),
    ):
        yield replace(inputs, targets=odd)
        yield replace(inputs, predictions=odd)
    yield replace(inputs, predictions=targets)
