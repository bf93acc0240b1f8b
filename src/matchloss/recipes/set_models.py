"""Detectors that predict a set: Hugging Face's YOLOS, DETR, Deformable DETR and RT-DETR behind one face.

Images (N, 3, H, W) in; out comes the mapping that `SetCriterion` and `decode_set_prediction` take. The networks are
called below their own loss: what they are trained with is the criterion's matter.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from matchloss.recipes.backbones import SCRATCH, FrozenNorms
from matchloss.recipes.denoising import denoising_labels, denoising_set
from matchloss.recipes.errors import RunError
from matchloss.recipes.set_configs import proposals, small_detr, small_rt_detr, small_yolos
from matchloss.types import QuerySet, Targets

SMALL: dict[str, Callable[[int, tuple[int, int]], Any]] = {
    "yolos": small_yolos,
    "detr": small_detr,
    "rtdetr": small_rt_detr,
}
"""Names of the models that train from random weights; the network, from the classes and the size of the images."""
FAMILY = {"yolos": "yolos", "detr": "detr", "rtdetr": "rt_detr"}
"""What Hugging Face calls the architecture of each."""
FAMILIES = ("yolos", "detr", "deformable_detr", "rt_detr")


def family_of(name: str, folder: Path) -> str | None:
    """The architecture of a model that predicts a set; None for a dense one, a backbone.

    A run that was begun knows it by the architecture it keeps in `folder`; before that a name may need the network.
    """
    if name in FAMILY or name == SCRATCH:
        return FAMILY.get(name)
    from transformers import AutoConfig

    try:
        # Only a folder with this file is one: any other path would be looked for on the hub.
        kind = AutoConfig.from_pretrained(folder if (folder / "config.json").is_file() else name).model_type
    except (KeyError, OSError, ValueError):
        return None  # whoever builds the model says what is wrong with its name
    return kind if kind in FAMILIES else None


def build_set_detector(
    name: str, family: str, *, classes: int, size: tuple[int, int], folder: Path, pretrained: bool = True
) -> nn.Module:
    """Build a detector that predicts a set.

    Args:
        name: one of SMALL (random weights), or a model's name on Hugging Face, or a local folder.
        family: one of FAMILIES, as `family_of` says.
        classes: how many; the heads of a pretrained model get new weights where theirs are of another number.
        size: (height, width) of training images.
        folder: where the architecture of a pretrained model is kept.
        pretrained: False where the weights come from a checkpoint.
    """
    if name in SMALL:
        network = SMALL[name](classes, size)
    else:
        network = _pretrained(name, family, classes, size, folder) if pretrained else _from_folder(name, family, folder)
    return DETECTORS[family](network, scratch=name in SMALL)


class SetDetector(FrozenNorms):
    """What they share."""

    def __init__(self, network: Any, *, scratch: bool) -> None:
        super().__init__(frozen_norms=not scratch)
        self.network, self.scratch = network, scratch


class YolosDetector(SetDetector):
    """A plain vision transformer: the last hidden states of the detection tokens go to class and box heads."""

    def forward(self, images: Tensor, targets: Targets | None = None) -> dict[str, Any]:
        """Predict; the targets are for networks that see noisy ones while they train."""
        outputs = self.network(images)
        return {"logits": outputs.logits, "pred_boxes": outputs.pred_boxes}


class DetrDetector(SetDetector):
    """An encoder and a decoder over one feature map; every decoder layer predicts."""

    def forward(self, images: Tensor, targets: Targets | None = None) -> dict[str, Any]:
        """Predict, in the end and after each layer before."""
        network, first = self.network, None
        if self.scratch:
            # The decoder begins from zeros as published, and knows a place only by what attention finds there; from
            # random weights it learns sooner where it begins from the places themselves.
            first = network.model.query_position_embeddings.weight.expand(len(images), -1, -1)
        outputs = network.model(images, decoder_inputs_embeds=first, output_hidden_states=True)
        # Not config.auxiliary_loss: it also feeds each layer the normalised states of the one before, another network.
        hidden = [network.model.decoder.layernorm(states) for states in outputs.decoder_hidden_states[1:-1]]
        layers = torch.stack([*hidden, outputs.last_hidden_state])
        return _with_layers(network.class_labels_classifier(layers), network.bbox_predictor(layers).sigmoid())


class DeformableDetrDetector(SetDetector):
    """DETR on several feature maps, with attention to few places of each."""

    def forward(self, images: Tensor, targets: Targets | None = None) -> dict[str, Any]:
        """Predict, in the end and after each layer before; two-stage models also from the encoder."""
        network = self.network
        outputs = network.model(images)
        starts = [outputs.init_reference_points, *outputs.intermediate_reference_points.unbind(1)]
        logits, boxes = [], []
        for layer, states in enumerate(outputs.intermediate_hidden_states.unbind(1)):
            moved, start = network.bbox_embed[layer](states), starts[layer].logit(eps=1e-5)
            moved = torch.cat([moved[..., : start.shape[-1]] + start, moved[..., start.shape[-1] :]], -1)
            logits.append(network.class_embed[layer](states))
            boxes.append(moved.sigmoid())
        found = _with_layers(torch.stack(logits), torch.stack(boxes))
        if targets is not None and outputs.enc_outputs_class is not None:
            # Its proposals are chosen by the first channel, which says "an object", whatever the class.
            proposed = QuerySet(
                outputs.enc_outputs_class[None],
                outputs.enc_outputs_coord_logits.sigmoid()[None],
                targets=targets._replace(labels=torch.zeros_like(targets.labels)),
            )
            found["query_sets"] = {"encoder": proposed}
        return found


class RTDetrDetector(SetDetector):
    """DETR whose queries are the encoder's best proposals; while it trains, noisy targets are queries too."""

    def forward(self, images: Tensor, targets: Targets | None = None) -> dict[str, Any]:
        """Predict, in the end, after each layer before, and from the encoder."""
        network, labels = self.network, None
        if self.training and targets is not None and network.config.num_denoising > 0:
            labels = denoising_labels(targets)
        outputs = network.model(images, labels=labels)
        logits, boxes = (
            outputs.intermediate_logits.transpose(0, 1),
            outputs.intermediate_reference_points.transpose(0, 1),
        )
        noisy = 0 if outputs.denoising_meta_values is None else outputs.denoising_meta_values["dn_num_split"][0]
        found = _with_layers(logits[:, :, noisy:], boxes[:, :, noisy:])
        found["encoder_outputs"] = {"logits": outputs.enc_topk_logits, "pred_boxes": outputs.enc_topk_bboxes}
        if targets is not None and noisy:
            groups = outputs.denoising_meta_values["dn_num_group"]
            queries = denoising_set(logits[:, :, :noisy], boxes[:, :, :noisy], targets, groups)
            found["query_sets"] = {"denoising": queries}
        return found


DETECTORS: dict[str, type[SetDetector]] = {
    "yolos": YolosDetector,
    "detr": DetrDetector,
    "deformable_detr": DeformableDetrDetector,
    "rt_detr": RTDetrDetector,
}


def _with_layers(logits: Tensor, boxes: Tensor) -> dict[str, Any]:
    """From (L, N, Q, .) of all decoder layers."""
    earlier = [{"logits": logits[layer], "pred_boxes": boxes[layer]} for layer in range(len(logits) - 1)]
    return {"logits": logits[-1], "pred_boxes": boxes[-1], "auxiliary_outputs": earlier}


def _pretrained(name: str, family: str, classes: int, size: tuple[int, int], folder: Path) -> Any:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(name)
        config.id2label = {label: str(label) for label in range(classes)}
        if family == "rt_detr":
            config.num_queries = min(config.num_queries, proposals(size))
        network = _network_class(family).from_pretrained(name, config=config, ignore_mismatched_sizes=True)
    except (ImportError, KeyError, OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split("\n")[0].split())
        raise RunError(f"cannot load the {family} model {name!r} ({reason})") from error
    network.config.save_pretrained(folder)
    return network


def _from_folder(name: str, family: str, folder: Path) -> Any:
    from transformers import AutoConfig

    try:
        return _network_class(family)(AutoConfig.from_pretrained(folder))
    except (ImportError, OSError, ValueError) as error:
        raise RunError(f"cannot read the architecture of the model {name!r} in {folder}") from error


def _network_class(family: str) -> Any:
    import transformers

    return {
        "yolos": transformers.YolosForObjectDetection,
        "detr": transformers.DetrForObjectDetection,
        "deformable_detr": transformers.DeformableDetrForObjectDetection,
        "rt_detr": transformers.RTDetrForObjectDetection,
    }[family]
