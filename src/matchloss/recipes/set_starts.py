"""Where small transformers begin: each query has a place of its own, predicts a box there, and looks there.

From random weights, of Xavier's size, all queries predict nearly one box, and attention averages over half of the image
or more: DETR's over 80 to 140 of 192 cells, YOLOS' over 170 to 190 of 253 tokens. A training first has to find out that
there are places. Here position codes, the projections that read them and the last layer of the box head are set: boxes
begin spread over the image, and attention with 5 to 20 neighbours. And YOLOS, which has no convolutions, begins to see
patches as waves. All of these weights are trained.
"""

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WAVES, TEMPERATURE = 8, 20
"""Of DETR's position code: the shortest wave goes so often into an image, the longest this many times less."""
STRIDE = 16
"""Of the features that DETR looks at."""
SMALL_BOX = -1.7
"""Sides that boxes begin with, a logit: a sixth of the image instead of half of it."""
ASIDE = 0.075
"""How far from its place a head begins to look, a share of the image's longer side: half of a blood cell."""
QUIET = 0.1
"""What a layer adds to its input begins this much smaller: in full size, DETR's queries are nearly one after three."""
RIDGE = 0.01
"""Of the least squares for the box head, relative to the variance of what it reads."""
TOKENS, ENCODER, DECODER = 1.2, 1.6, 1.2
"""How sharply attention begins to look: at some five patches in YOLOS, some twenty and ten cells in DETR."""
TOKENS_QUIET = 0.4
"""`QUIET` in YOLOS, whose places have channels of their own."""
CONTRAST = 0.04
"""How much of the sum over a patch YOLOS begins to see, by the root of the patch's pixels."""
SHADES = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (1.0, -2.0, 1.0))
"""Brightness, red against blue, and both against green; photos have half as much of the last two."""


@torch.no_grad()
def place_tokens(network: Any, size: tuple[int, int]) -> None:
    """YOLOS: one half of the channels begins with places, the other with what is there.

    It has no position codes beside its states, as DETR has. In common channels what patches show would disturb
    attention by place, and what attention hands on would mostly be places.
    """
    embeddings, queries = network.vit.embeddings, network.config.num_detection_tokens
    patches, half = network.config.patch_size, network.config.hidden_size // 2
    codes, projection = embeddings.position_embeddings, embeddings.patch_embeddings.projection
    nn.init.zeros_(codes)
    codes[0, 1:-queries, :half] = sine_code(grid_places(size[0] // patches, size[1] // patches), half)
    codes[0, -queries:, :half] = sine_code(query_places(queries), half)
    nn.init.zeros_(projection.weight)
    nn.init.zeros_(projection.bias)
    projection.weight[half:] = waves_of_patch(half, patches)
    for layer in network.vit.encoder.layer:
        look, heads = layer.attention.attention, network.config.num_attention_heads
        look_aside(look.query, look.key, size=size, heads=heads, sharpness=TOKENS, width=half)
        look.value.weight[:, :half] = 0.0
        for written in (layer.attention.output.dense, layer.output.dense):
            quieten(written, by=TOKENS_QUIET)
            written.weight[:half] = 0.0
    network.bbox_predictor.layers[0].weight[:, half:] *= TOKENS_QUIET
    states = network.eval().vit(torch.zeros(1, 3, *size)).last_hidden_state[:, -queries:]
    aim_boxes(network.bbox_predictor, states)
    network.train()


@torch.no_grad()
def place_queries(network: Any, size: tuple[int, int]) -> None:
    """DETR: the position code has shorter waves than the published one, and queries have the codes of a grid."""
    model, heads, width = network.model, network.config.encoder_attention_heads, network.config.d_model
    model.position_embedding.scale, model.position_embedding.temperature = 2 * math.pi * WAVES, TEMPERATURE
    queries = model.query_position_embeddings.weight
    # The library has the first cell of its features at one cell, not at half of one as a centre is.
    half = STRIDE / 2 / torch.tensor([size[1], size[0]])
    queries.copy_(sine_code(query_places(len(queries)) + half, width))
    for layer in model.encoder.layers:
        look = layer.self_attn
        look_aside(look.q_proj, look.k_proj, size=size, heads=heads, sharpness=ENCODER, width=width)
        quieten(look.o_proj, layer.mlp.fc2, by=QUIET)
    for layer in model.decoder.layers:
        look = layer.encoder_attn
        look_aside(look.q_proj, look.k_proj, size=size, heads=heads, sharpness=DECODER, width=width)
        quieten(layer.self_attn.o_proj, look.o_proj, layer.mlp.fc2, by=QUIET)
    network.eval()
    blank = torch.zeros(1, 3, *size)
    outputs = model(blank, decoder_inputs_embeds=queries[None], output_hidden_states=True)
    states = [model.decoder.layernorm(state) for state in outputs.decoder_hidden_states[1:]]
    aim_boxes(network.bbox_predictor, torch.cat(states))
    network.train()


def waves_of_patch(count: int, size: int) -> Tensor:
    """Cosine waves of a patch, the longest first, in three shades, (count, 3, size, size), all about as loud.

    The longest say how bright a patch is and which side of it is darker, so where an object lies. In random weights all
    that would stand behind the brightness, which in photos is larger than the rest together.
    """
    waves = sorted(itertools.product(range(size), repeat=2), key=lambda wave: (sum(wave), wave))[: -(-count // 3)]
    cosines = torch.cos(math.pi / size * torch.outer(torch.arange(size), torch.arange(size) + 0.5))
    cosines[1:] *= math.sqrt(2)
    shapes = [(1 + i + j) ** 1.5 * torch.outer(cosines[i], cosines[j]) for i, j in waves]
    shades = F.normalize(torch.tensor(SHADES)) * torch.tensor([[1.0], [2.0], [2.0]])
    return CONTRAST / size * torch.einsum("fhw,sc->fschw", torch.stack(shapes), shades).flatten(0, 1)[:count]


def grid_places(rows: int, columns: int) -> Tensor:
    """Centres of a grid's cells, row by row, (rows * columns, 2) as (x, y) from 0 to 1."""
    y, x = torch.meshgrid((torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij")
    return torch.stack([x, y], -1).flatten(0, 1)


def query_places(queries: int) -> Tensor:
    """Places of that many queries, as even as rows allow."""
    rows = math.isqrt(queries)
    return grid_places(rows, -(-queries // rows))[:queries]


def sine_code(places: Tensor, width: int) -> Tensor:
    """DETR's position code of places (n, 2), (n, width), with waves short enough to tell neighbours apart."""
    waves = _waves(width)
    angles = torch.cat([places[:, 1:] * waves, places[:, :1] * waves], 1)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)


@torch.no_grad()
def look_aside(
    query: nn.Linear, key: nn.Linear, *, size: tuple[int, int], heads: int, sharpness: float, width: int
) -> None:
    """Let each head of an attention look at another side of its place.

    A key is the position code, a comb of its waves for each head; a query is the code of a place `ASIDE`, which turns
    every wave by an angle. Their product is largest where the two places are one.

    Args:
        query: its weights are set.
        key: its weights are set.
        size: (height, width) of images.
        heads: of the attention.
        sharpness: factor of both, so that its square multiplies their product.
        width: how many channels have the position code, the first ones.
    """
    x, y = ASIDE * max(size) / size[1], ASIDE * max(size) / size[0]
    combs = heads * width // len(key.weight)
    pairs = torch.arange(0, width, 2)
    nn.init.zeros_(query.weight)
    nn.init.zeros_(key.weight)
    for head, (asks, answers) in enumerate(zip(query.weight.chunk(heads), key.weight.chunk(heads), strict=True)):
        waves = pairs[head % combs :: combs]
        comb = sharpness * torch.eye(width)[torch.stack([waves, waves + 1], 1).flatten()]
        angle = 2 * math.pi * (head + 0.5) / heads
        answers[:, :width] = comb
        asks[:, :width] = comb @ _turn(x * math.cos(angle), y * math.sin(angle), width)


@torch.no_grad()
def quieten(*layers: nn.Linear, by: float) -> None:
    """Begin with small additions to what a block is given."""
    for layer in layers:
        layer.weight.mul_(by)


@torch.no_grad()
def aim_boxes(head: Any, states: Tensor) -> None:
    """Let a box head begin with small boxes at the places of the queries, by least squares on its last layer.

    Args:
        head: a perceptron with `layers` and ReLU between them.
        states: (L, Q, D) what the queries of L layers are on a blank image.
    """
    hidden = states
    for layer in head.layers[:-1]:
        hidden = layer(hidden).relu()
    wanted = query_places(states.shape[1]).logit().repeat(states.shape[0], 1)
    hidden = hidden.flatten(0, 1)
    mean, middle = hidden.mean(0), wanted.mean(0)
    spread = hidden - mean
    ridge = RIDGE * len(spread) * spread.var() * torch.eye(spread.shape[1])
    solved = torch.linalg.solve(spread.T @ spread + ridge, spread.T @ (wanted - middle)).T
    last = head.layers[-1]
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, SMALL_BOX)
    last.weight[:2] = solved
    last.bias[:2] = middle - solved @ mean


def _waves(width: int) -> Tensor:
    """Radians from one end of an axis to the other, the shortest wave first; each has a sine and a cosine."""
    count = width // 4
    return 2 * math.pi * WAVES / TEMPERATURE ** (torch.arange(count) / count)


def _turn(x: float, y: float, width: int) -> Tensor:
    """The matrix that takes the code of a place to the code of a place so far away."""
    angles = torch.cat([_waves(width) * y, _waves(width) * x])
    sine = torch.arange(0, width, 2)
    turn = torch.zeros(width, width)
    turn[sine, sine] = turn[sine + 1, sine + 1] = angles.cos()
    turn[sine, sine + 1], turn[sine + 1, sine] = angles.sin(), -angles.sin()
    return turn
