"""Hugging Face detectors from a config, small enough that a step takes a fraction of a second; nothing is loaded."""

from typing import Any

import torch
from torch import Tensor
from transformers import (
    ConditionalDetrConfig,
    ConditionalDetrForObjectDetection,
    DabDetrConfig,
    DabDetrForObjectDetection,
    DeformableDetrConfig,
    DeformableDetrForObjectDetection,
    DetrConfig,
    DetrForObjectDetection,
    DetrForSegmentation,
    PreTrainedModel,
    ResNetConfig,
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrResNetConfig,
    RTDetrV2Config,
    RTDetrV2ForObjectDetection,
    TableTransformerConfig,
    TableTransformerForObjectDetection,
    YolosConfig,
    YolosForObjectDetection,
)

from inputs import generator

CLASSES, SIDE, QUERIES = 3, 64, 12
LABELS = {index: str(index) for index in range(CLASSES)}


def backbone(stages: list[int]) -> ResNetConfig:
    return ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 32, 64], depths=[1] * 4, layer_type="basic", out_indices=stages
    )


def transformer(stages: list[int], *, auxiliary: bool = True) -> dict[str, Any]:
    """What the configs of DETR's family share; the width is 32, the heads 8 in the encoder for the sake of masks."""
    return {
        "backbone_config": backbone(stages),
        "use_timm_backbone": False,
        "num_queries": QUERIES,
        "encoder_layers": 1,
        "decoder_layers": 3,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "encoder_attention_heads": 8,
        "decoder_attention_heads": 4,
        "dropout": 0.0,
        "auxiliary_loss": auxiliary,
        "id2label": LABELS,
    }


def detr(*, segmentation: bool = False, auxiliary: bool = True) -> PreTrainedModel:
    config = DetrConfig(d_model=32, **transformer([1, 2, 3, 4], auxiliary=auxiliary))
    return DetrForSegmentation(config) if segmentation else DetrForObjectDetection(config)


def table_transformer() -> PreTrainedModel:
    return TableTransformerForObjectDetection(TableTransformerConfig(d_model=32, **transformer([1, 2, 3, 4])))


def conditional_detr() -> PreTrainedModel:
    return ConditionalDetrForObjectDetection(ConditionalDetrConfig(d_model=32, **transformer([1, 2, 3, 4])))


def dab_detr() -> PreTrainedModel:
    return DabDetrForObjectDetection(DabDetrConfig(hidden_size=32, **transformer([1, 2, 3, 4])))


def deformable_detr() -> PreTrainedModel:
    config = DeformableDetrConfig(d_model=32, with_box_refine=True, **transformer([2, 3, 4]))
    return DeformableDetrForObjectDetection(config)


def yolos() -> PreTrainedModel:
    config = YolosConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=32,
        image_size=[SIDE, SIDE],
        num_detection_tokens=QUERIES,
        id2label=LABELS,
    )
    return YolosForObjectDetection(config)


def hybrid() -> dict[str, Any]:
    """What the configs of RT-DETR and its second version share."""
    return {
        "backbone_config": RTDetrResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16, 32, 64], depths=[1] * 4, layer_type="basic", out_indices=[2, 3, 4]
        ),
        "encoder_in_channels": [16, 32, 64],
        "encoder_hidden_dim": 32,
        "d_model": 32,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "decoder_in_channels": [32, 32, 32],
        "decoder_layers": 3,
        "hidden_expansion": 0.5,
        "num_queries": QUERIES,
        "num_denoising": 8,
        "id2label": LABELS,
    }


def rt_detr() -> PreTrainedModel:
    return RTDetrForObjectDetection(RTDetrConfig(**hybrid()))


def rt_detr_v2() -> PreTrainedModel:
    return RTDetrV2ForObjectDetection(RTDetrV2Config(**hybrid()))


def annotations(counts: tuple[int, ...], seed: int = 0, *, side: int = SIDE) -> list[dict[str, Tensor]]:
    """Labels as the image processors give them, so many objects an image; each mask is the ellipse in its box."""
    rng = generator(seed)
    where = (torch.arange(side) + 0.5) / side
    labels = []
    for count in counts:
        sizes = torch.rand(count, 2, generator=rng) * 0.4 + 0.1
        centers = sizes / 2 + torch.rand(count, 2, generator=rng) * (1 - sizes)
        x, y = ((where - centers[:, axis, None]) / sizes[:, axis, None] for axis in (0, 1))
        labels.append(
            {
                "class_labels": torch.randint(0, CLASSES, (count,), generator=rng),
                "boxes": torch.cat([centers, sizes], 1),
                "masks": (x[:, None] ** 2 + y[:, :, None] ** 2 < 0.25).float(),
                "size": torch.tensor([side, side]),
                "iscrowd": torch.zeros(count, dtype=torch.long),
            }
        )
    return labels


def images(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=generator(seed))
