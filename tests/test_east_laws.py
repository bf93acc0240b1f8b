"""EASTCriterion in every precision, compiled, without host reads; its errors."""

from typing import Any

import pytest
import torch
from torch import Tensor

import matchloss
import text_scenes as scene
from matchloss.criteria import EASTCriterion
from matchloss.types import EASTMaps

PRESETS = {
    "paper": EASTCriterion.paper(),
    "argman": EASTCriterion.argman(),
    "sakura": EASTCriterion.sakura(),
    "all": EASTCriterion(dice_weight=0.5, dice_form="squared", dice_smooth=1.0, geometry_mean="pixels"),
}
over_presets = pytest.mark.parametrize("name", PRESETS)
over_channels = pytest.mark.parametrize("channels", [5, 8])


def photo(channels: int, dtype: torch.dtype) -> tuple[list[Tensor], EASTMaps]:
    """720p: words of up to 700 pixels a side about their pixels, some predicted without size, some exactly."""
    size = (1, 1, 180, 320)
    score = (scene.random(*size, seed=20) < 0.02).double()
    if channels == 5:
        geometry = torch.cat([1 + 699 * scene.random(1, 4, *size[2:], seed=21), scene.random(*size, seed=22)], 1)
        found = torch.cat([700 * scene.random(1, 4, *size[2:], seed=23), 3 * scene.random(*size, seed=24) - 1.5], 1)
        found[:, :4, :20] = 0
    else:
        geometry = 700 * torch.tensor([-1.0, -0.01, 1, -0.01, 1, 0.01, -1, 0.01]).double().reshape(1, 8, 1, 1)
        geometry = geometry + scene.random(1, 8, *size[2:], seed=21)
        found = geometry + 200 * scene.random(1, 8, *size[2:], seed=23) - 100
    found[..., 20:40, :] = geometry[..., 20:40, :]
    logits = 20 * scene.random(*size, seed=25) - 10
    maps = EASTMaps(score, geometry * score, scene.random(*size, seed=26) < 0.9, score[0].long() - 1, 14 * score)
    return [values.to(dtype) for values in (logits, found)], maps


@over_presets
@over_channels
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_the_loss_in_double(name: str, channels: int, dtype: torch.dtype) -> None:
    outputs, maps = photo(channels, dtype)
    in_double = scene.leaves(outputs)
    wanted = PRESETS[name](*in_double, maps)
    scale = 2.0**10  # what a GradScaler is for
    wanted_gradients = torch.autograd.grad(scale * wanted.total, in_double)
    halves = maps._replace(geometry=maps.geometry.float(), score=maps.score.to(dtype))
    for autocast in (False, True):
        found = scene.leaves(outputs, dtype)
        with torch.autocast("cpu", dtype=dtype, enabled=autocast):
            loss = PRESETS[name](*found, halves)
        assert loss.total.dtype == torch.float32
        for key, term in wanted.terms.items():
            torch.testing.assert_close(loss.terms[key].double(), term, rtol=1e-5, atol=1e-7)
        for key, stat in wanted.stats.items():
            torch.testing.assert_close(loss.stats[key].double(), stat.double(), rtol=1e-5, atol=1e-7)
        for grad, other in zip(torch.autograd.grad(scale * loss.total, found), wanted_gradients, strict=True):
            assert grad.dtype == dtype
            torch.testing.assert_close(grad.double(), other, rtol=1e-2, atol=2e-6)


@over_presets
@over_channels
def test_all_pixels_or_the_positives_alone_are_one_loss(name: str, channels: int) -> None:
    outputs, maps = scene.outputs(channels, requires_grad=True), scene.maps(channels)
    got = PRESETS[name](*outputs, maps)
    with matchloss.reference():
        wanted = PRESETS[name](*outputs, maps)
        wanted_gradients = scene.gradients(wanted, outputs)
    scene.assert_reads_nothing_on_the_host(PRESETS[name], outputs, maps)
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(scene.gradients(got, outputs), wanted_gradients)


@pytest.mark.parametrize(("name", "channels"), [("sakura", 5), ("all", 5), ("all", 8)])
def test_traces_in_one_graph(name: str, channels: int) -> None:
    torch._dynamo.reset()
    outputs, maps = scene.outputs(channels, requires_grad=True), scene.maps(channels)
    compiled = torch.compile(PRESETS[name], fullgraph=True, backend="aot_eager")
    for fields in (maps, scene.without_text(maps)):
        got, wanted = compiled(*outputs, fields), PRESETS[name](*outputs, fields)
        torch.testing.assert_close(got, wanted)
        torch.testing.assert_close(scene.gradients(got, outputs), scene.gradients(wanted, outputs))


def test_gradient_of_corners_equals_finite_differences() -> None:
    outputs, maps = scene.outputs(8, requires_grad=True), scene.maps(8)
    assert torch.autograd.gradcheck(lambda *found: PRESETS["all"](*found, maps).total, outputs, fast_mode=True)


@over_presets
def test_order_of_the_images_and_memory_layout_do_not_matter(name: str) -> None:
    outputs, maps = scene.outputs(), scene.maps()
    wanted = PRESETS[name](*outputs, maps)
    order = torch.tensor([2, 0, 1])
    moved = [values[order].to(memory_format=torch.channels_last) for values in outputs]
    torch.testing.assert_close(PRESETS[name](*moved, scene.of_images(maps, order)), wanted)


def test_a_given_divisor_joins_the_parts_of_a_batch() -> None:
    outputs, maps = scene.outputs(), scene.maps()
    whole = EASTCriterion(score_weight=None)(*outputs, maps)
    parts = [
        EASTCriterion(score_weight=None)(
            *(values[part] for values in outputs),
            scene.of_images(maps, part),
            normalizer=whole.stats["positives"],
        )
        for part in (slice(0, 2), slice(2, 3))
    ]
    torch.testing.assert_close(parts[0].total + parts[1].total, whole.total)
    assert parts[1].total == 0


def replaced(**fields: Any) -> tuple[Tensor, Tensor, EASTMaps]:
    return (*scene.outputs(), scene.maps()._replace(**fields))


SCORE, GEOMETRY, MAPS = replaced()
MISTAKES: dict[str, tuple[EASTCriterion, tuple[Any, ...], str]] = {
    "two scores": (PRESETS["paper"], (GEOMETRY[:, :2], GEOMETRY, MAPS), r"score_logits of shape \(B, 1, h, w\), got"),
    "labels": (PRESETS["paper"], (SCORE.long(), GEOMETRY, MAPS), "score_logits of a floating dtype, got int64"),
    "four channels": (PRESETS["paper"], (SCORE, GEOMETRY[:, :4], MAPS), r"\(B, 5 or 8, h, w\), got \(3, 4, 5, 6\)"),
    "size": (PRESETS["paper"], (SCORE, GEOMETRY[..., :3], MAPS), r"batch and size \(3, 1, 5, 6\), got \(3, 5, 5, 3\)"),
    "kind": (PRESETS["paper"], (SCORE, GEOMETRY, scene.maps(8)), r"maps.geometry of shape \(3, 5, 5, 6\), as was"),
    "stride": (
        PRESETS["paper"],
        replaced(score=SCORE[..., :3]),
        r"maps.score of shape \(3, 1, 5, 6\).*got \(3, 1, 5, 3",
    ),
    "mask of numbers": (PRESETS["paper"], replaced(mask=MAPS.mask.double()), "maps.mask of dtype bool .*, got float64"),
    "mask of an image": (PRESETS["paper"], replaced(mask=MAPS.mask[:1]), r"maps.mask of shape \(3, 1, 5, 6\)"),
    "boxes of corners": (
        EASTCriterion(geometry_loss=torch.nn.Module()),
        (SCORE, torch.cat([SCORE] * 8, 1), MAPS),
        "geometry of 5 channels for a geometry_loss of boxes, got 8",
    ),
    "no term": (
        EASTCriterion(score_weight=None, quad_weight=None),
        (SCORE, *scene.outputs(8)[1:], scene.maps(8)),
        "a term that is on for 8 channels, got only None",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_errors_are_one_clear_sentence(name: str) -> None:
    criterion, arguments, message = MISTAKES[name]
    with pytest.raises(ValueError, match="^EASTCriterion: expected .*" + message):
        criterion(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"empty": "skip"}, "empty to be one of 'negatives', 'paper', 'zero', got 'skip'"),
        ({"distance_order": "ltrb"}, "distance_order to be one of 'trbl', 'tblr'"),
        ({"score_input": "sigmoid"}, "score_input to be one of"),
        ({"geometry_mean": "batch"}, "geometry_mean to be one of"),
        ({"dice_form": "cubic"}, "form to be one of"),
        ({"iou_smooth": -1.0}, "iou_smooth >= 0, got -1.0"),
        ({"dice_smooth": -1.0}, "dice_smooth >= 0, got -1.0"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="^EASTCriterion: expected " + message):
        EASTCriterion(**options)
