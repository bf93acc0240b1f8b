"""The criterion that the config of a Hugging Face detector describes."""

from functools import lru_cache
from typing import Any, Literal

import torch

from ..assigners import HungarianAssigner
from ..losses import SigmoidFocalLoss, VarifocalLoss
from .set_prediction import SetCriterion

# A step asks for its criterion anew, as the config may have changed; a kept one saves copying class weights to the GPU.
keep = lru_cache(maxsize=32)


def softmax_criterion(config: Any, device: torch.device) -> SetCriterion:
    """DETR's and YOLOS's; its terms are without weights, as in transformers' loss_dict."""
    costs = (config.class_cost, config.bbox_cost, config.giou_cost)
    return _unweighted(config.num_labels, "softmax", costs, config.eos_coefficient, device)


def sigmoid_criterion(config: Any, device: torch.device) -> SetCriterion:
    """Deformable DETR's; its terms are without weights too."""
    costs = (config.class_cost, config.bbox_cost, config.giou_cost)
    return _unweighted(config.num_labels, "focal", costs, config.focal_alpha, device)


@keep
def _unweighted(
    num_classes: int,
    class_cost: Literal["softmax", "focal"],
    costs: tuple[float, float, float],
    balance: float,
    device: torch.device,
) -> SetCriterion:
    classes, l1, giou = costs
    focal = class_cost == "focal"
    with torch.inference_mode(False):  # or class weights first made while evaluating could train nothing later
        criterion = SetCriterion(
            num_classes,
            assigner=HungarianAssigner(class_cost=class_cost, class_weight=classes, l1_weight=l1, giou_weight=giou),
            class_loss=SigmoidFocalLoss(alpha=balance, gamma=2) if focal else None,
            no_object_weight=balance,
            l1_weight=1.0,
            giou_weight=1.0,
        )
        return criterion.to(device)


def rt_detr_criterion(config: Any) -> SetCriterion:
    """RT-DETR's; its terms are weighted, as in transformers' loss_dict."""
    if not config.use_focal_loss:
        raise ValueError("replace_loss: expected a config with use_focal_loss=True, got False")
    return SetCriterion(
        config.num_labels,
        assigner=HungarianAssigner(
            class_cost="focal",
            class_weight=config.matcher_class_cost,
            l1_weight=config.matcher_bbox_cost,
            giou_weight=config.matcher_giou_cost,
            alpha=config.matcher_alpha,
            gamma=config.matcher_gamma,
        ),
        class_loss=VarifocalLoss(
            alpha=config.focal_loss_alpha, gamma=config.focal_loss_gamma, positives="labels", detach=True
        ),
        scores="iou",
        class_weight=config.weight_loss_vfl,
        l1_weight=config.weight_loss_bbox,
        giou_weight=config.weight_loss_giou,
    )
