"""Rows of set prediction: cost and solve, the solve alone, the whole of DETR's criterion."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..assigners import HungarianAssigner
from ..assigners._linear_assignment import linear_assignment
from ..criteria import SetCriterion
from ..types import Targets
from .rows import Row, Variant, dims, peer
from .set_scenes import CLASSES, set_scene
from .setting import Setting

OF_DETR = "transformers.loss.loss_for_object_detection"


def softmax_matching(setting: Setting, images: int, queries: int, count: int) -> Row:
    """DETR's cost, beside its matcher in transformers."""
    kind = setting.peers.find(OF_DETR, "HungarianMatcher")
    theirs = kind(class_cost=1, bbox_cost=5, giou_cost=2) if kind else None
    return _matching(setting, HungarianAssigner.detr(), theirs, (images, queries, CLASSES + 1), count)


def focal_matching(setting: Setting, images: int, queries: int, count: int) -> Row:
    """Deformable DETR's cost, beside RT-DETR's matcher in transformers."""
    kind = setting.peers.find("transformers.loss.loss_rt_detr", "RTDetrHungarianMatcher")
    config = setting.peers.find("transformers", "RTDetrConfig")
    theirs = kind(config()) if kind and config else None
    return _matching(setting, HungarianAssigner.deformable_detr(), theirs, (images, queries, CLASSES), count)


def _matching(
    setting: Setting,
    assigner: HungarianAssigner,
    theirs: Callable[..., Any] | None,
    shape: tuple[int, int, int],
    count: int,
) -> Row:
    """The value is the sum of the products of matched numbers, counted from 1."""
    shape, count = ((2, 20, shape[2]), 4) if setting.quick else (shape, count)
    logits, boxes, annotations = set_scene(setting, shape, count)
    targets = Targets.from_list(annotations, box_format="cxcywh", normalized=True)
    numbers = torch.arange(targets.labels.shape[1], device=setting.device) + 1
    others: dict[str, Variant] = {}
    if theirs:

        def of_transformers() -> Tensor:
            pairs = theirs({"logits": logits, "pred_boxes": boxes}, annotations)
            return torch.stack([((rows + 1) * (columns + 1)).sum() for rows, columns in pairs]).sum()

        others["transformers"] = peer(of_transformers)
    return Row(
        f"{dims(*shape)} logits, about {count} targets",
        lambda: (numbers * (assigner(logits, boxes, targets).query_of_target + 1)).sum(),
        None,
        others=others,
    )


def detr_cost(setting: Setting, layers: int, images: int, queries: int, count: int) -> Row:
    """The costs of all layers alone; the value is the least of them."""
    layers, images, queries, count = (2, 2, 20, 4) if setting.quick else (layers, images, queries, count)
    logits, boxes, annotations = set_scene(setting, (layers, images, queries, CLASSES + 1), count)
    targets = Targets.from_list(annotations, box_format="cxcywh", normalized=True)
    assigner = HungarianAssigner.detr()
    size = f"{layers} layers of {dims(images, queries)} queries, about {count} targets"
    return Row(size, lambda: assigner.cost(logits, boxes, targets).total.amin(), None)


def solve(setting: Setting, problems: int, count: int, queries: int) -> Row:
    """The assignment alone, of costs like DETR's, beside a loop over scipy; the value is the sum of the costs."""
    problems, count, queries = (6, 4, 20) if setting.quick else (problems, count, queries)
    targets = setting.rand(problems, count, 4)
    near = setting.integers(0, count, problems, queries, 1).expand(-1, -1, 4)
    boxes = targets.gather(1, near) + 0.15 * setting.randn(problems, queries, 4)
    distance = (targets[:, :, None] - boxes[:, None]).abs().sum(-1)
    cost = setting.to_device(5 * distance - 2 * setting.rand(problems, 1, queries))
    rows = torch.ones(problems, count, dtype=torch.bool, device=setting.device)
    others: dict[str, Variant] = {}
    if solver := setting.peers.find("scipy.optimize", "linear_sum_assignment"):

        def loop() -> Tensor:
            found = np.stack([solver(problem)[1] for problem in cost.cpu().numpy()])
            return cost.gather(2, setting.to_device(torch.from_numpy(found)).unsqueeze(2)).sum()

        others["a loop over scipy"] = peer(loop)
    return Row(
        f"{problems} problems of {count} x {queries}",
        lambda: cost.gather(2, linear_assignment(cost, rows).unsqueeze(2)).sum(),
        None,
        others=others,
    )


def detr_criterion(setting: Setting, layers: int, images: int, queries: int, count: int) -> Row:
    """Matching, losses and backward of all decoder layers; logits and boxes in one leaf, to count all gradients."""
    layers, images, queries, count = (2, 2, 20, 4) if setting.quick else (layers, images, queries, count)
    logits, boxes, annotations = set_scene(setting, (layers, images, queries, CLASSES + 1), count)
    leaf = torch.cat([logits, boxes], -1).to(setting.dtype).requires_grad_()
    criterion = SetCriterion.detr(CLASSES).to(setting.device)
    # Padded once: a list would be padded, and on a GPU waited for, at each step.
    targets = Targets.from_list(annotations, box_format="cxcywh", normalized=True)

    def outputs() -> dict[str, Any]:
        parts = [{"logits": one[..., : CLASSES + 1], "pred_boxes": one[..., CLASSES + 1 :]} for one in leaf.unbind()]
        return {**parts[-1], "auxiliary_outputs": parts[:-1]}

    others: dict[str, Variant] = {}
    matcher, kind = setting.peers.find(OF_DETR, "HungarianMatcher"), setting.peers.find(OF_DETR, "ImageLoss")
    if matcher and kind:
        other = kind(matcher(1, 5, 2), CLASSES, 0.1, ["labels", "boxes", "cardinality"]).to(setting.device)
        weights = {"loss_ce": 1.0, "loss_bbox": 5.0, "loss_giou": 2.0, "cardinality_error": 0.0}

        def theirs() -> Tensor:
            terms = other(outputs(), annotations)
            return torch.stack([weights[name.rstrip("_0123456789")] * term for name, term in terms.items()]).sum()

        others["transformers"] = peer(theirs)
    size = f"{layers} layers of {dims(images, queries)} queries, about {count} targets"
    return Row(size, lambda: criterion(outputs(), targets).total, leaf, others=others)
