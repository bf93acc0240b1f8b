"""The bridge from task-aligned assignment to its GPU kernels, one operator that compilers do not look into."""

import torch
from torch import Tensor

from ..types import Assignment
from ._holdings import revise_holdings
from ._rules import TaskAlignedRules
from ._scene import Scene
from ._targets import ReadTargets


def assign_with_triton(rules: TaskAlignedRules, scene: Scene) -> Assignment:
    """Equal to the plain form, without a wait for the device."""
    return Assignment(
        *task_aligned(
            *scene[:4],
            *scene.targets,
            topk=rules.topk,
            alpha=float(rules.alpha),
            beta=float(rules.beta),
            overlap=rules.overlap,
            topk_among=rules.topk_among,
            conflict=rules.conflict,
            margin=float(rules.margin),
            zero_metric=rules.zero_metric,
            second_topk=rules.second_topk,
            min_side=rules.min_side,
            min_overlap=float(rules.min_overlap),
            min_points=rules.min_points,
            reach=rules.reach,
            eps=float(rules.eps),
        )
    )


@torch.library.custom_op("matchloss::task_aligned", mutates_args=())
def task_aligned(
    scores: Tensor,
    boxes: Tensor,
    points: Tensor,
    strides: Tensor | None,
    target_boxes: Tensor,
    labels: Tensor,
    matchable: Tensor,
    ignored: Tensor,
    topk: int,
    alpha: float,
    beta: float,
    overlap: str,
    topk_among: str,
    conflict: str,
    margin: float,
    zero_metric: bool,
    second_topk: int | None,
    min_side: float | None,
    min_overlap: float,
    min_points: int | None,
    reach: float | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Fields of an :class:`Assignment`, from those of a :class:`Scene` and :class:`TaskAlignedRules`."""
    from ..kernels.task_aligned_cuda import claim_points, write_scores

    rules = TaskAlignedRules(
        topk=topk,
        alpha=alpha,
        beta=beta,
        overlap=overlap,  # type: ignore[arg-type]
        topk_among=topk_among,  # type: ignore[arg-type]
        conflict=conflict,  # type: ignore[arg-type]
        margin=margin,
        zero_metric=zero_metric,
        second_topk=second_topk,
        min_side=min_side,
        min_overlap=min_overlap,
        min_points=min_points,
        reach=reach,
        eps=eps,
    )
    scene = Scene(scores, boxes, points, strides, ReadTargets(target_boxes, labels, matchable, ignored))
    owner, ignore = claim_points(rules, scene[:4], scene.targets)
    owner = revise_holdings(rules, scene, owner)
    return owner, *write_scores(rules, scene[:4], scene.targets, owner, ignore), ignore


@task_aligned.register_fake
def _(scores: Tensor, boxes: Tensor, *options: object) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    shape = boxes.shape[:2]
    owner, soft = boxes.new_empty(shape, dtype=torch.int64), boxes.new_empty(shape)
    return owner, torch.empty_like(owner), soft, boxes.new_empty(shape, dtype=torch.bool)
