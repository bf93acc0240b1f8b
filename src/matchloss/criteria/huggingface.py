"""One line that makes a detector of Hugging Face transformers train on our criterion: :func:`replace_loss`.

transformers itself is not imported: all that is needed is the name of the model's class and its config.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..types import QuerySet, Targets
from ._config_criteria import rt_detr_criterion, sigmoid_criterion, softmax_criterion
from ._set_losses import cardinality_error
from .set_prediction import SetCriterion

Model = TypeVar("Model", bound=nn.Module)
Labels = Sequence[Mapping[str, Tensor]]
Result = tuple[Tensor, dict[str, Tensor], list[dict[str, Tensor]] | None]
"""What a model expects of its loss: the total, the terms by transformers' names, the outputs of the other layers."""

CALLER = "replace_loss"
BOX_FIELDS = {"class_labels", "boxes", "weights", "ignore", "iscrowd"}
MASK_FIELDS = BOX_FIELDS | {"masks", "pixels"}
NAMES = {"class": "ce", "l1": "bbox", "giou": "giou", "mask": "mask", "dice": "dice"}
"""Of our terms in transformers, after "loss_"; and before "_loss_coefficient" in a config."""


def replace_loss(model: Model) -> Model:
    """Let a Hugging Face detector train on :class:`SetCriterion`, and return the same model.

        model.loss_function = the criterion that model.config describes

    For DETR (boxes, or boxes and masks), YOLOS, Table Transformer, Conditional, DAB and Deformable DETR, RT-DETR and
    RT-DETR v2, with any trainer. Costs, weights, the focal alpha, auxiliary layers, encoder and denoising queries are
    read from the config and the model's outputs at each step. ``outputs.loss``, the keys and the scale of
    ``outputs.loss_dict`` and ``outputs.auxiliary_outputs`` stay those of transformers, so that logging goes on as it
    was. For another model, call :class:`SetCriterion` on its outputs.

    Shapes:
        labels, as the model is called with: one dict an image, ``class_labels (m,)``, ``boxes (m, 4)`` cxcywh in
        fractions of the image; for segmentation ``masks (m, H, W)``; where known ``iscrowd`` or ``ignore (m,)``,
        ``weights (m,)`` and, with masks, ``pixels (H, W)``, False where the image was padded.

    Args:
        model: an instance of one of these classes, or of a class derived from one; not one wrapped by a trainer.

    Raises:
        ValueError: another model, or one of transformers before 4.48; at a step, RT-DETR with use_focal_loss=False.

    Reference:
        The losses of transformers 5.23, with which the tests compare each term and gradient.

    Differs:
        In a single process terms and gradients are those of transformers. Under several processes DETR and Deformable
        DETR there divide by the number of boxes twice over (a mean over ranks, divided by the ranks again), so that box
        and focal terms grow with the number of processes, and RT-DETR divides by what its own rank holds; ours is
        :class:`SetCriterion`'s. A query with a NaN there changes which queries the other targets get, an inverted box
        raises; here neither. Pixels of padding count there in the masks' terms; not here, where they are known. Objects
        with ``iscrowd`` are regions to ignore here, objects there. Where no image of a batch has an object, the
        denoising terms of RT-DETR are 0 instead of missing. What transformers leaves out stays out: the class term has
        the weight 1 (2 in Deformable DETR's paper and in :meth:`SetCriterion.deformable_detr`) whatever
        cls_loss_coefficient says, and YOLOS with auxiliary_loss=True fails in its own forward, before any loss.

    Example:
        >>> from transformers import YolosConfig, YolosForObjectDetection
        >>> small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
        >>> config = YolosConfig(image_size=[32, 32], num_detection_tokens=5, num_labels=3, **small)
        >>> model = replace_loss(YolosForObjectDetection(config))
        >>> target = {"boxes": torch.tensor([[0.5, 0.5, 0.2, 0.4]]), "class_labels": torch.tensor([1])}
        >>> outputs = model(pixel_values=torch.zeros(1, 3, 32, 32), labels=[target])
        >>> sorted(outputs.loss_dict)
        ['cardinality_error', 'loss_bbox', 'loss_ce', 'loss_giou']
    """
    loss = next((LOSSES[base.__name__] for base in type(model).__mro__ if base.__name__ in LOSSES), None)
    if loss is None:
        supported = ", ".join(LOSSES)
        raise ValueError(f"{CALLER}: expected a model that is one of {supported}, got {type(model).__name__}")
    if getattr(getattr(type(model), "loss_function", None), "fset", None) is None:
        raise ValueError(f"{CALLER}: expected transformers 4.48 or newer, got a model whose loss cannot be set")
    model.loss_function = loss  # type: ignore[assignment]
    return model


def softmax_loss(
    logits: Tensor,
    labels: Labels,
    device: torch.device,
    pred_boxes: Tensor,
    config: Any,
    outputs_class: Tensor | None = None,
    outputs_coord: Tensor | None = None,
) -> Result:
    """Of DETR and YOLOS: softmax over the classes and no object."""
    outputs = _read_layers(logits, pred_boxes, config, outputs_class, outputs_coord)
    return _detr_terms(softmax_criterion(config, device), outputs, _read_labels(labels, BOX_FIELDS), config)


def softmax_mask_loss(
    logits: Tensor,
    labels: Labels,
    device: torch.device,
    pred_boxes: Tensor,
    pred_masks: Tensor,
    config: Any,
    outputs_class: Tensor | None = None,
    outputs_coord: Tensor | None = None,
) -> Result:
    """Of DETR for segmentation: the last layer's masks too."""
    outputs = _read_layers(logits, pred_boxes, config, outputs_class, outputs_coord)
    outputs["pred_masks"] = pred_masks
    return _detr_terms(softmax_criterion(config, device), outputs, _read_labels(labels, MASK_FIELDS), config)


def sigmoid_loss(
    logits: Tensor,
    labels: Labels,
    device: torch.device,
    pred_boxes: Tensor,
    config: Any,
    outputs_class: Tensor | None = None,
    outputs_coord: Tensor | None = None,
) -> Result:
    """Of Deformable, Conditional and DAB DETR: focal loss of each class."""
    outputs = _read_layers(logits, pred_boxes, config, outputs_class, outputs_coord)
    return _detr_terms(sigmoid_criterion(config, device), outputs, _read_labels(labels, BOX_FIELDS), config)


def rt_detr_loss(
    logits: Tensor,
    labels: Labels,
    device: torch.device,
    pred_boxes: Tensor,
    config: Any,
    outputs_class: Tensor | None = None,
    outputs_coord: Tensor | None = None,
    enc_topk_logits: Tensor | None = None,
    enc_topk_bboxes: Tensor | None = None,
    denoising_meta_values: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> Result:
    """Of RT-DETR: varifocal loss, with the encoder's proposals and denoising queries beside the decoder layers.

    Its forward hands on whatever keywords it was called with, hence ``**kwargs``.
    """
    targets = _read_labels(labels, BOX_FIELDS)
    noised = denoising_meta_values["dn_num_split"][0] if denoising_meta_values else 0  # these queries stand first
    outputs: dict[str, Any] = {"logits": logits[:, noised:], "pred_boxes": pred_boxes[:, noised:]}
    others = None
    if config.auxiliary_loss and outputs_class is not None and outputs_coord is not None:
        layers = zip(outputs_class[:, :-1, noised:].unbind(1), outputs_coord[:, :-1, noised:].unbind(1), strict=True)
        outputs["auxiliary_outputs"] = [{"logits": classes, "pred_boxes": boxes} for classes, boxes in layers]
        outputs["encoder_outputs"] = {"logits": enc_topk_logits, "pred_boxes": enc_topk_bboxes}
        others = [*outputs["auxiliary_outputs"], outputs["encoder_outputs"]]
        if denoising_meta_values or _lacks_denoising(labels, config):
            slots = outputs_class[:, :, :noised].transpose(0, 1), outputs_coord[:, :, :noised].transpose(0, 1)
            outputs["query_sets"] = {"dn": _denoising_set(*slots, targets, labels, denoising_meta_values)}
    loss = rt_detr_criterion(config)(outputs, targets)
    encoder = f"aux_{len(others) - 1}" if others else ""
    terms = {_rename(name, "vfl").replace("encoder", encoder): term for name, term in loss.terms.items()}
    return loss.total, terms, others


def _read_labels(labels: Labels, fields: set[str]) -> Targets:
    """Image processors put more into a label than a loss reads, such as masks beside a model without any."""
    wanted = [{name: values for name, values in image.items() if name in fields} for image in labels]
    return Targets.from_list(wanted, box_format="cxcywh", normalized=True)


def _read_layers(
    logits: Tensor, boxes: Tensor, config: Any, outputs_class: Tensor | None, outputs_coord: Tensor | None
) -> dict[str, Any]:
    """Outputs as the criterion reads them; the last of the stacked layers is that of ``logits``."""
    others = None
    if config.auxiliary_loss and outputs_class is not None and outputs_coord is not None:
        layers = zip(outputs_class[:-1], outputs_coord[:-1], strict=True)
        others = [{"logits": classes, "pred_boxes": boxes} for classes, boxes in layers]
    return {"logits": logits, "pred_boxes": boxes, "auxiliary_outputs": others}


def _detr_terms(criterion: SetCriterion, outputs: dict[str, Any], targets: Targets, config: Any) -> Result:
    loss = criterion(outputs, targets)
    weights = {kind: getattr(config, f"{name}_loss_coefficient", 1.0) for kind, name in NAMES.items()}
    total = torch.stack([weights[name.partition("_")[0]] * term for name, term in loss.terms.items()]).sum()
    terms = {_rename(name, "ce").replace("aux_", ""): term for name, term in loss.terms.items()}
    others, objects = outputs["auxiliary_outputs"], (targets.valid & ~targets.ignore).sum(1)
    for suffix, layer in [("", outputs), *((f"_{index}", layer) for index, layer in enumerate(others or ()))]:
        exclusive = layer["logits"].shape[-1] > criterion.num_classes
        terms[f"cardinality_error{suffix}"] = cardinality_error(layer["logits"], objects, exclusive=exclusive)
    return total, terms, others


def _rename(name: str, classes: str) -> str:
    """``class_aux_0`` as ``loss_ce_aux_0``."""
    kind, *suffix = name.split("_")
    return "_".join(["loss", classes if kind == "class" else NAMES[kind], *suffix])


def _lacks_denoising(labels: Labels, config: Any) -> bool:
    """Whether a training step has no denoising queries for want of objects; its terms are then 0, not missing.

    Logs, and ranks that add up their counts, rely on the same terms in every step.
    """
    return config.num_denoising > 0 and torch.is_grad_enabled() and not any(len(image["boxes"]) for image in labels)


def _denoising_set(
    logits: Tensor, boxes: Tensor, targets: Targets, labels: Labels, meta: Mapping[str, Any] | None
) -> QuerySet:
    """Every group of queries holds each target once, as a positive; other queries learn that there is nothing.

    A query made from a crowd is neither.
    """
    known = targets.labels.new_full((len(labels), logits.shape[2]), -1)
    if meta is None:
        return QuerySet(logits, boxes, target_of_query=known)
    groups = meta["dn_num_group"]
    for image, places in enumerate(meta["dn_positive_idx"]):
        known[image, places] = torch.arange(len(labels[image]["boxes"]), device=known.device).repeat(groups)
    of_crowd = (known >= 0) & targets.ignore.gather(1, known.clamp(min=0))
    return QuerySet(logits, boxes, target_of_query=known, counted=~of_crowd, repeats=groups)


LOSSES: dict[str, Callable[..., Result]] = {
    "DetrForObjectDetection": softmax_loss,
    "DetrForSegmentation": softmax_mask_loss,
    "YolosForObjectDetection": softmax_loss,
    "TableTransformerForObjectDetection": softmax_loss,
    "ConditionalDetrForObjectDetection": sigmoid_loss,
    "DabDetrForObjectDetection": sigmoid_loss,
    "DeformableDetrForObjectDetection": sigmoid_loss,
    "RTDetrForObjectDetection": rt_detr_loss,
    "RTDetrV2ForObjectDetection": rt_detr_loss,
}
