"""YOLOS, DETR and RT-DETR small enough for a CPU, with random weights to begin from.

The architectures are Hugging Face's, as published but for their sizes and for the norms of convolutions: batch norms,
which these libraries keep frozen, would do nothing with random weights, so group norms take their place. The
libraries' own random weights are meant to be loaded over; `_start` and set_starts.py set what a training from them
needs.
"""

from typing import Any

from torch import nn

from matchloss.recipes.backbones import replace_batch_norms
from matchloss.recipes.detect_models import PRIOR
from matchloss.recipes.set_starts import place_queries, place_tokens

QUERIES = 60
"""An image cannot have more objects; those beyond are not learned."""
WIDTH = 128
HEADS = 4
PATCH = 16


def small_yolos(classes: int, size: tuple[int, int]) -> Any:
    """YOLOS-Ti with two thirds of its channels and a third of its layers."""
    from transformers import YolosConfig, YolosForObjectDetection

    config = YolosConfig(
        hidden_size=WIDTH,
        num_hidden_layers=4,
        num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH,
        image_size=list(size),
        patch_size=PATCH,
        num_detection_tokens=QUERIES,
        use_mid_position_embeddings=False,
        id2label=_names(classes),
    )
    network = YolosForObjectDetection(config)
    _start(network)
    place_tokens(network, size)
    return network


def small_detr(classes: int, size: tuple[int, int]) -> Any:
    """DETR on features of stride 16, as its DC5 form has them: blood cells are small."""
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    backbone = ResNetConfig(
        embedding_size=32, hidden_sizes=[32, 64, 128], depths=[1, 1, 2], layer_type="basic", out_features=["stage3"]
    )
    config = DetrConfig(
        backbone_config=backbone,
        use_timm_backbone=False,
        num_queries=QUERIES,
        d_model=WIDTH,
        encoder_layers=3,
        decoder_layers=3,
        encoder_ffn_dim=4 * WIDTH,
        decoder_ffn_dim=4 * WIDTH,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        dropout=0.0,
        id2label=_names(classes),
    )
    network = DetrForObjectDetection(config)
    replace_batch_norms(network)
    _start(network)
    network.model.backbone.requires_grad_(True)  # the library freezes the stages of a pretrained backbone
    place_queries(network, size)
    return network


def small_rt_detr(classes: int, size: tuple[int, int]) -> Any:
    """RT-DETR on features of the strides 8, 16 and 32."""
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig

    backbone = RTDetrResNetConfig(
        embedding_size=32,
        hidden_sizes=[32, 64, 128, 192],
        depths=[1, 1, 2, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrConfig(
        backbone_config=backbone,
        encoder_in_channels=[64, 128, 192],
        encoder_hidden_dim=WIDTH,
        encoder_ffn_dim=4 * WIDTH,
        encoder_attention_heads=HEADS,
        decoder_in_channels=[WIDTH] * 3,
        d_model=WIDTH,
        decoder_ffn_dim=4 * WIDTH,
        decoder_attention_heads=HEADS,
        decoder_layers=3,
        hidden_expansion=0.5,
        num_queries=min(QUERIES, proposals(size)),
        num_denoising=QUERIES,
        initializer_bias_prior_prob=PRIOR,
        id2label=_names(classes),
    )
    network = RTDetrForObjectDetection(config)
    replace_batch_norms(network)
    return network


def proposals(size: tuple[int, int]) -> int:
    """How many places RT-DETR has to choose its queries from, in the narrowest image of a training of that size."""
    cells = max(size) // 32
    return cells * (16 + 4 + 1)


def _start(network: nn.Module) -> None:
    """Xavier's weights for what attends and predicts; the library's are a quarter as large and hardly move at first."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)


def _names(classes: int) -> dict[int, str]:
    return {label: str(label) for label in range(classes)}
