"""Each term's sum and divisor, from one read of the logits wherever the term allows it."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .. import losses
from .._core import both, compute_dtype, expand_to, keep_valid
from ..losses._class_inputs import ClassInputs, labelled, read_class_inputs, read_class_weights, weight_of_targets
from ..losses._focal_term import balance
from ..losses._map_inputs import has_labels
from ..losses._region import RegionSums
from ..losses._region_module import RegionLoss
from ..losses._sigmoid_statistics import sigmoid_statistics
from ..losses._softmax_statistics import softmax_statistics
from ..losses._softmax_sums import statistics_to_sums
from ..losses.softmax_focal import focal_of_labels, read_alpha

CALLER = "SegmentationCriterion"


class Part(NamedTuple):
    """One term before its division, so that the divisor can be summed over ranks first."""

    value: Tensor
    total: Tensor


class Parts(NamedTuple):
    """All terms of one level, and how many elements counted."""

    terms: dict[str, Part]
    valid: Tensor


def softmax_parts(
    modules: nn.ModuleDict, logits: Tensor, targets: Tensor, mask: Tensor | None, ignore_index: int | None
) -> Parts:
    """Terms of exclusive classes. With dense targets each term reads for itself."""
    inputs = read_class_inputs(CALLER, logits, targets, ignore_index=ignore_index, mask=mask)
    valid = _count(inputs.valid, inputs.logits[:, 0], inputs.dtype)
    shared = {name for name, module in modules.items() if inputs.labels is not None and _shares_softmax(module)}
    parts = {}
    if shared:
        statistics = softmax_statistics(inputs)
        sums = statistics_to_sums(statistics)
    for name, module in modules.items():
        if name not in shared:
            parts[name] = _alone(module(logits, targets, mask=mask))
        elif isinstance(module, RegionLoss):
            parts[name] = _region_part(module, sums)
        else:
            parts[name] = _likelihood_part(module, statistics.log_prob, inputs, valid)
    return Parts(parts, valid)


def _shares_softmax(module: nn.Module) -> bool:
    """Whether the labels' log probability and the class sums are all that the term needs."""
    if isinstance(module, losses.CrossEntropyLoss):
        return module.label_smoothing == 0
    if isinstance(module, RegionLoss):
        return module.form != "squared"
    return isinstance(module, losses.SoftmaxFocalLoss)


def _likelihood_part(module: nn.Module, log_prob: Tensor, inputs: ClassInputs, valid: Tensor) -> Part:
    """Cross entropy or focal from the labels' log probability, which is 0 where not valid."""
    if isinstance(module, losses.SoftmaxFocalLoss):
        loss = focal_of_labels(log_prob, inputs, read_alpha(module.alpha, inputs), module.gamma)
        return Part(loss.sum(), valid)
    assert isinstance(module, losses.CrossEntropyLoss)
    class_weights = read_class_weights(CALLER, module.class_weights, inputs)
    if class_weights is None:
        return Part(-log_prob.sum(), valid)
    weight = weight_of_targets(inputs, class_weights)
    counted = weight if inputs.valid is None else torch.where(inputs.valid, weight, 0.0)
    return Part(-(log_prob * weight).sum(), counted.sum())


def sigmoid_parts(
    modules: nn.ModuleDict, logits: Tensor, targets: Tensor, mask: Tensor | None, ignore_index: int | None
) -> Parts:
    """Terms of binary maps. Focal shares the read for hard targets, which labels and bool maps are by their dtype."""
    maps, mask = read_maps(logits, targets, mask, ignore_index)
    is_hard = not maps.is_floating_point()
    flat_logits, flat_maps = (values.unsqueeze(-1).flatten(2) for values in (logits, maps))
    flat_mask, dtype = None if mask is None else mask.unsqueeze(-1).flatten(2), compute_dtype(logits)
    valid = _count(flat_mask, flat_logits, dtype)
    shared = {name for name, module in modules.items() if _shares_sigmoid(module, is_hard)}
    parts = {}
    if shared:
        statistics = sigmoid_statistics(flat_logits, flat_maps, flat_mask)
        actual = keep_valid(flat_maps, flat_mask).sum(2, dtype=dtype)
        area = torch.full_like(actual, flat_maps.shape[2]) if flat_mask is None else flat_mask.sum(2).to(dtype)
        sums = RegionSums(statistics.overlap, statistics.predicted, actual, area)
    for name, module in modules.items():
        if name not in shared:
            parts[name] = _alone(module(logits, maps.to(dtype), mask=mask))
        elif isinstance(module, RegionLoss):
            parts[name] = _region_part(module, sums)
        else:
            loss = statistics.cross_entropy
            if isinstance(module, losses.SigmoidFocalLoss):
                loss = _focal_of_hard(loss, flat_maps.to(dtype), module.alpha, module.gamma)
            parts[name] = Part(loss.sum(), valid)
    return Parts(parts, valid)


def read_maps(
    logits: Tensor, targets: Tensor, mask: Tensor | None, ignore_index: int | None
) -> tuple[Tensor, Tensor | None]:
    """Targets of the logits' shape, and the mask of what counts; ``(N, *)`` labels become bool maps."""
    if mask is not None:
        mask = expand_to(CALLER, "mask", mask, logits)
    if not has_labels(CALLER, logits, targets, 1):
        return targets, mask
    classes = logits.shape[1]
    is_labelled = labelled(CALLER, targets, classes, ignore_index, lowest=-1)
    if is_labelled is not None:
        mask = both(mask, is_labelled.unsqueeze(1).expand_as(logits))
    index = torch.arange(classes, device=logits.device).view(-1, *[1] * (logits.ndim - 2))
    return targets.unsqueeze(1) == index, mask


def _shares_sigmoid(module: nn.Module, is_hard: bool) -> bool:
    """Whether elementwise cross entropy and the class sums are all that the term needs."""
    if isinstance(module, losses.BinaryCrossEntropyLoss):
        return module.label_smoothing == 0 and module.pos_weight is None
    if isinstance(module, RegionLoss):
        return module.form == "linear"
    return isinstance(module, losses.SigmoidFocalLoss) and is_hard


def _focal_of_hard(cross_entropy: Tensor, targets: Tensor, alpha: float | None, gamma: float) -> Tensor:
    """Focal loss of targets 0 and 1, whose cross entropy is -log p_t."""
    loss = cross_entropy
    if gamma > 0:
        missed = (-torch.expm1(-cross_entropy)).clamp(min=torch.finfo(loss.dtype).tiny)
        loss = loss * missed**gamma
    return loss if alpha is None else loss * balance(targets, alpha)


def _region_part(module: RegionLoss, sums: RegionSums) -> Part:
    elements = module.elements(sums)
    return Part(torch.where(elements.valid, elements.loss, 0.0).sum(), elements.total.to(elements.loss.dtype))


def _alone(loss: Tensor) -> Part:
    """A term that has reduced itself: the mean of the ranks' means."""
    return Part(loss, torch.ones_like(loss))


def _count(valid: Tensor | None, like: Tensor, dtype: torch.dtype) -> Tensor:
    """Number of elements that count, as a tensor so that no host waits for it."""
    return like.new_full((), like.numel(), dtype=dtype) if valid is None else valid.sum().to(dtype)
