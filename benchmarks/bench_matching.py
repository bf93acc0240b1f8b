"""Set prediction timed: cost and solve, the solve alone, and the whole criterion, beside transformers and scipy."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import matchloss
from bench_measure import Loss
from bench_peers import peer
from matchloss import Targets
from matchloss.assigners import HungarianAssigner
from matchloss.assigners._linear_assignment import linear_assignment
from matchloss.criteria import SetCriterion

CLASSES = 91
Annotations = list[dict[str, Tensor]]


class Timed(NamedTuple):
    """One case: variants of one value, the first of which is ours."""

    title: str
    leaf: Tensor
    """For the backward, which matching does not have."""
    variants: dict[str, Loss]
    aims: list[tuple[str, float]]
    """Names of peers, and how many times as fast as they ours is to be."""


def set_prediction(device: str, generator: torch.Generator, *, quick: bool) -> Iterator[Timed]:
    """At the sizes of DETR and of crowded scenes."""
    images, queries = (2, 20) if quick else (16, 300)
    for count in (4,) if quick else (20, 100):
        yield _softmax_matching((images, queries, CLASSES + 1), count, device, generator)
        yield _focal_matching((images, queries, CLASSES), count, device, generator)
    for shape in ((6, 4, 20),) if quick else ((112, 20, 300), (112, 100, 900)):
        yield _solve(shape, device, generator)
    for images, queries, count in ((2, 20, 4),) if quick else ((8, 100, 7), (16, 300, 20)):
        yield _criterion((6, images, queries, CLASSES + 1), count, device, generator)


def _softmax_matching(shape: tuple[int, ...], count: int, device: str, generator: torch.Generator) -> Timed:
    kind = peer("transformers.loss.loss_for_object_detection", "HungarianMatcher")
    other = None if kind is None else kind(class_cost=1, bbox_cost=5, giou_cost=2)
    return _matching("softmax", HungarianAssigner.detr(), other, shape, count, device, generator)


def _focal_matching(shape: tuple[int, ...], count: int, device: str, generator: torch.Generator) -> Timed:
    kind = peer("transformers.loss.loss_rt_detr", "RTDetrHungarianMatcher")
    config = peer("transformers", "RTDetrConfig")
    other = None if kind is None or config is None else kind(config())
    return _matching("focal", HungarianAssigner.deformable_detr(), other, shape, count, device, generator)


def _matching(
    cost: str,
    assigner: HungarianAssigner,
    other: Callable[..., Any] | None,
    shape: tuple[int, ...],
    count: int,
    device: str,
    generator: torch.Generator,
) -> Timed:
    """The value is the sum of the products of matched numbers, counted from 1."""
    logits, boxes, annotations = _scene(shape, count, device, generator)
    targets = Targets.from_list(annotations, box_format="cxcywh", normalized=True)
    leaf = torch.zeros(1, device=device, requires_grad=True)
    numbers = torch.arange(targets.labels.shape[1], device=device) + 1

    def ours() -> Tensor:
        matching = assigner(logits, boxes, targets)
        return (numbers * (matching.query_of_target + 1)).sum() + leaf.sum()

    def plain() -> Tensor:
        with matchloss.reference():
            return ours()

    variants: dict[str, Loss] = {"matchloss": ours, "matchloss, plain torch": plain}
    if other is not None:

        def theirs() -> Tensor:
            pairs = other({"logits": logits, "pred_boxes": boxes}, annotations)
            return torch.stack([((rows + 1) * (columns + 1)).sum() for rows, columns in pairs]).sum() + leaf.sum()

        variants["transformers"] = theirs
    title = f"set matching, {cost} cost {list(shape)}, about {count} targets"
    return Timed(title, leaf, variants, [("transformers", 40.0)] if cost == "softmax" else [])


def _solve(shape: tuple[int, int, int], device: str, generator: torch.Generator) -> Timed:
    """The value is the sum of the costs."""
    problems, count, queries = shape
    targets = torch.rand(problems, count, 4, generator=generator)
    near = torch.randint(0, count, (problems, queries, 1), generator=generator).expand(-1, -1, 4)
    boxes = targets.gather(1, near) + 0.15 * torch.randn(problems, queries, 4, generator=generator)
    distance = (targets[:, :, None] - boxes[:, None]).abs().sum(-1)
    cost = (5 * distance - 2 * torch.rand(problems, 1, queries, generator=generator)).to(device)
    leaf = torch.zeros(1, device=device, requires_grad=True)
    rows = torch.ones(shape[:2], dtype=torch.bool, device=device)
    variants: dict[str, Loss] = {
        "matchloss": lambda: cost.gather(2, linear_assignment(cost, rows).unsqueeze(2)).sum() + leaf.sum()
    }
    if solver := peer("scipy.optimize", "linear_sum_assignment"):

        def loop() -> Tensor:
            found = torch.from_numpy(np.stack([solver(problem)[1] for problem in cost.cpu().numpy()])).to(device)
            return cost.gather(2, found.unsqueeze(2)).sum() + leaf.sum()

        variants["scipy, a loop"] = loop
    aim = 3.0 if count == 100 else 5.0
    return Timed(f"linear assignment {list(shape)}", leaf, variants, [("scipy, a loop", aim)])


def _criterion(shape: tuple[int, ...], count: int, device: str, generator: torch.Generator) -> Timed:
    """Logits and boxes of all layers in one leaf, so that all gradients are counted."""
    logits, boxes, annotations = _scene(shape, count, device, generator)
    leaf = torch.cat([logits, boxes], -1).requires_grad_()
    criterion = SetCriterion.detr(CLASSES).to(device)

    def outputs() -> dict[str, Any]:
        layers = [
            {"logits": layer[..., : CLASSES + 1], "pred_boxes": layer[..., CLASSES + 1 :]} for layer in leaf.unbind()
        ]
        return {**layers[-1], "auxiliary_outputs": layers[:-1]}

    def plain() -> Tensor:
        with matchloss.reference():
            return criterion(outputs(), annotations).total

    variants: dict[str, Loss] = {
        "matchloss": lambda: criterion(outputs(), annotations).total,
        "matchloss, plain torch": plain,
    }
    module = "transformers.loss.loss_for_object_detection"
    matcher, kind = peer(module, "HungarianMatcher"), peer(module, "ImageLoss")
    if matcher and kind:
        other = kind(matcher(1, 5, 2), CLASSES, 0.1, ["labels", "boxes", "cardinality"]).to(device)
        weights = {"loss_ce": 1.0, "loss_bbox": 5.0, "loss_giou": 2.0, "cardinality_error": 0.0}

        def theirs() -> Tensor:
            terms = other(outputs(), annotations)
            return torch.stack([weights[name.rstrip("_0123456789")] * term for name, term in terms.items()]).sum()

        variants["transformers"] = theirs
    return Timed(f"DETR's criterion {list(shape)}, about {count} targets", leaf, variants, [])


def _scene(
    shape: tuple[int, ...], count: int, device: str, generator: torch.Generator
) -> tuple[Tensor, Tensor, Annotations]:
    """Half as many to half as many more targets an image; half of the queries lie near one."""
    images, queries = shape[-3:-1]

    def boxes(number: int) -> Tensor:
        size = 0.02 * 15 ** torch.rand(number, 2, generator=generator)
        return torch.cat([torch.rand(number, 2, generator=generator) * (1 - size) + size / 2, size], -1)

    annotations, predicted = [], []
    for _ in range(images):
        number = int(torch.randint(count // 2, count + count // 2 + 1, (), generator=generator))
        own = boxes(number)
        labels = torch.randint(0, CLASSES, (number,), generator=generator)
        annotations.append({"class_labels": labels.to(device), "boxes": own.to(device)})
        near = own[torch.randint(0, number, (queries,), generator=generator)]
        near = near * (1 + 0.2 * torch.randn(near.shape, generator=generator)).clamp(0.2, 2)
        predicted.append(torch.where(torch.rand(queries, 1, generator=generator) < 0.5, near, boxes(queries)))
    around = torch.stack(predicted).expand(*shape[:-1], 4)
    moved = around * (1 + 0.05 * torch.randn(around.shape, generator=generator)).clamp(0.5, 2)
    return torch.randn(shape, generator=generator).to(device), moved.to(device), annotations
