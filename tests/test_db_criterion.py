"""DBCriterion: its terms written out, which negatives count, and what must change nothing."""

from typing import Any

import pytest
import torch
from torch import Tensor

import matchloss
import reference as ref
import text_scenes as scene
from matchloss.criteria import DBCriterion
from matchloss.criteria._hard_negatives import hard_negatives
from matchloss.types import DBMaps, LossTerms

NAN, INF = float("nan"), float("inf")
WEIGHTS = {"score": 5.0, "threshold": 10.0, "binary": 1.0}


def call(outputs: dict[str, Tensor], maps: DBMaps, **options: Any) -> LossTerms:
    return DBCriterion(**options)(outputs, maps)


def leaves(outputs: dict[str, Tensor], dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    return dict(zip(outputs, scene.leaves(list(outputs.values()), dtype), strict=True))


def gradients(loss: LossTerms, outputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
    return scene.gradients(loss, list(outputs.values()))


def in_numpy(outputs: dict[str, Tensor], maps: DBMaps, **options: Any) -> dict[str, Any]:
    arrays = {name: values.numpy() for name, values in maps._asdict().items()}
    return ref.db_loss(outputs["score"].numpy(), outputs["threshold"].numpy(), arrays, **options)


@pytest.mark.parametrize(
    ("options", "plain"),
    [
        ({}, {}),
        (
            {"negative_ratio": 1.5, "min_negatives": 2, "k": 5.0, "smooth": 1.0},
            {"ratio": 1.5, "least": 2, "k": 5.0, "smooth": 1.0},
        ),
        ({"negative_ratio": 0.0, "min_negatives": 4}, {"ratio": 0.0, "least": 4}),
        ({"min_negatives": 10_000}, {"least": 10_000}),
    ],
)
@pytest.mark.parametrize("has_text", [True, False])
def test_equals_the_terms_written_out(options: Any, plain: Any, has_text: bool) -> None:
    outputs, maps = scene.db_outputs(), scene.db_maps()
    maps = maps if has_text else scene.without_text(maps)
    loss, wanted = call(outputs, maps, **options), in_numpy(outputs, maps, **plain)
    assert list(loss.terms) == list(WEIGHTS)
    for name, weight in WEIGHTS.items():
        assert loss.terms[name].item() == pytest.approx(weight * wanted[name], rel=1e-10), name
    assert loss.total.item() == pytest.approx(sum(w * wanted[name] for name, w in WEIGHTS.items()), rel=1e-10)
    assert loss.stats["negatives"] == wanted["negatives"]
    assert loss.stats["positives"] == (13 if has_text else 0)
    assert loss.stats["threshold_pixels"] == maps.threshold_mask.sum()
    assert loss.stats["valid_pixels"] == maps.mask.sum()


def test_the_hardest_negatives_count_and_the_first_of_equals() -> None:
    losses = torch.tensor([0.5, 2.0, 0.5, 9.0, NAN, 0.5, 1.0])
    negative = torch.tensor([True, True, True, False, True, True, True])
    for number, wanted in (
        (0, []),
        (1, [4]),
        (3, [1, 4, 6]),
        (4, [0, 1, 4, 6]),
        (5, [0, 1, 2, 4, 6]),
        (9, [0, 1, 2, 4, 5, 6]),
    ):
        chosen = hard_negatives(losses, negative, torch.tensor(number))
        assert chosen.nonzero().flatten().tolist() == wanted


def test_each_pixel_learns_what_is_its_own() -> None:
    outputs, maps = leaves(scene.db_outputs()), scene.db_maps()
    score, threshold = gradients(call(outputs, maps, binary_weight=None), outputs)
    assert torch.equal(threshold != 0, maps.threshold_mask)
    assert (score != 0).sum() == 13 + 39
    assert torch.equal(score < 0, maps.mask & (maps.score == 1))
    score, threshold = gradients(call(outputs, maps, score_weight=None, threshold_weight=None), outputs)
    assert torch.equal(score != 0, maps.mask)
    assert torch.equal(torch.sign(score), -torch.sign(threshold))


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_what_does_not_count_may_be_anything(bad: float) -> None:
    maps = scene.db_maps()
    outputs = leaves(scene.db_outputs())
    poisoned = leaves(
        {
            "score": torch.where(maps.mask, outputs["score"], bad),
            "threshold": torch.where(maps.mask | maps.threshold_mask, outputs["threshold"], bad),
        }
    )
    bad_maps = maps._replace(
        score=torch.where(maps.mask, maps.score, bad), threshold=torch.where(maps.threshold_mask, maps.threshold, bad)
    )
    assert not (maps.mask | maps.threshold_mask).all()
    for path in ("fast", "plain"):
        with matchloss.reference() if path == "plain" else torch.enable_grad():
            wanted, got = call(outputs, maps), call(poisoned, bad_maps)
            torch.testing.assert_close(got, wanted)
            torch.testing.assert_close(gradients(got, poisoned), gradients(wanted, outputs))


def test_threshold_of_a_pixel_that_is_only_compared_or_only_regressed() -> None:
    """The two masks differ: a threshold masked from one must not reach it, and must not be lost to the other."""
    maps = scene.db_maps()
    only_near = maps.threshold_mask & ~maps.mask
    only_valid = maps.mask & ~maps.threshold_mask
    assert only_near.any()
    assert only_valid.any()
    for where, broken, fine in ((only_near, "threshold", "binary"), (only_valid, "binary", "threshold")):
        outputs = scene.db_outputs()
        outputs["threshold"] = torch.where(where, NAN, outputs["threshold"])
        terms = call(outputs, maps).terms
        assert terms[broken].isnan()
        torch.testing.assert_close(terms[fine], call(scene.db_outputs(), maps).terms[fine])


def test_a_nan_that_counts_is_seen() -> None:
    maps = scene.db_maps()
    for place in ((0, 0, 0, 0), (0, 0, 1, 0)):  # a negative, a positive
        outputs = scene.db_outputs()
        outputs["score"][place] = NAN
        terms = call(outputs, maps).terms
        assert terms["score"].isnan()
        assert terms["binary"].isnan()


def test_batch_without_text_has_the_same_keys_and_teaches_background() -> None:
    outputs, maps = leaves(scene.db_outputs()), scene.db_maps()
    some, none = call(outputs, maps), call(outputs, scene.without_text(maps))
    assert list(none.terms) == list(some.terms)
    assert list(none.stats) == list(some.stats)
    score, _ = gradients(call(outputs, scene.without_text(maps), binary_weight=None), outputs)
    assert (score > 0).sum() == 10
    score, _ = gradients(call(outputs, scene.without_text(maps), score_weight=None), outputs)
    assert torch.equal(score > 0, maps.mask)


def test_nothing_valid_is_zero_with_a_graph() -> None:
    maps = scene.db_maps()
    maps = maps._replace(mask=torch.zeros_like(maps.mask), threshold_mask=torch.zeros_like(maps.mask))
    outputs = leaves({name: torch.full_like(values, NAN) for name, values in scene.db_outputs().items()})
    no_images = leaves({name: values[:0] for name, values in outputs.items()})
    for found, fields in ((outputs, maps), (no_images, scene.of_images(maps, slice(0, 0)))):
        loss = call(found, fields)
        assert loss.total == 0
        assert not any(grad.any() for grad in gradients(loss, found))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_the_loss_in_double_and_extremes_stay_finite(dtype: torch.dtype) -> None:
    maps = scene.db_maps()
    for scale in (1.0, 10.0, 1e4):
        halves = leaves({name: scale * values for name, values in scene.db_outputs().items()}, dtype)
        in_double = leaves(halves)
        wanted = call(in_double, maps)
        wanted_gradients = gradients(wanted, in_double)
        for autocast in (False, True):
            with torch.autocast("cpu", dtype=dtype, enabled=autocast):
                loss = call(halves, maps._replace(score=maps.score.to(dtype)))
            assert loss.total.dtype == torch.float32
            torch.testing.assert_close(loss.total.double(), wanted.total, rtol=1e-5, atol=1e-6)
            for grad, other in zip(gradients(loss, halves), wanted_gradients, strict=True):
                torch.testing.assert_close(grad.double(), other, rtol=1e-2, atol=1e-4)


def test_gradient_equals_finite_differences() -> None:
    outputs, maps = leaves(scene.db_outputs()), scene.db_maps()

    def total(score: Tensor, threshold: Tensor) -> Tensor:
        return call({"score": score, "threshold": threshold}, maps).total

    assert torch.autograd.gradcheck(total, tuple(outputs.values()), fast_mode=True)


def test_reads_nothing_on_the_host_and_traces_in_one_graph() -> None:
    torch._dynamo.reset()
    outputs, maps = leaves(scene.db_outputs()), scene.db_maps()
    scene.assert_reads_nothing_on_the_host(DBCriterion(), list(outputs.values()), maps)
    compiled = torch.compile(DBCriterion(), fullgraph=True, backend="aot_eager")
    got, wanted = compiled(outputs, maps), call(outputs, maps)
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(gradients(got, outputs), gradients(wanted, outputs))


def test_order_of_the_images_does_not_matter() -> None:
    outputs, maps = scene.db_outputs(), scene.db_maps()
    order = torch.tensor([2, 0, 1])
    moved = {name: values[order] for name, values in outputs.items()}
    torch.testing.assert_close(call(moved, scene.of_images(maps, order)), call(outputs, maps))


def wrong(**fields: Tensor) -> DBMaps:
    return scene.db_maps()._replace(**fields)


SCORE = scene.db_outputs()["score"]
MISTAKES = {
    "missing": ({"score": SCORE}, scene.db_maps(), r"outputs with 'score' and 'threshold', got \['score'\]"),
    "channels": ({"score": SCORE[:, 0], "threshold": SCORE}, scene.db_maps(), r"outputs\['score'\] of shape \(B, 1"),
    "sizes": (
        {"score": SCORE, "threshold": SCORE[..., :3]},
        scene.db_maps(),
        r"outputs\['threshold'\] of shape \(3, 1, 5, 6\), as was predicted, got \(3, 1, 5, 3\)",
    ),
    "maps": (scene.db_outputs(), wrong(threshold=SCORE[:2]), r"maps.threshold of shape \(3, 1, 5, 6\)"),
    "mask": (scene.db_outputs(), wrong(mask=SCORE), "maps.mask of dtype bool"),
    "near": (scene.db_outputs(), wrong(threshold_mask=SCORE), "maps.threshold_mask of dtype bool"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_errors_are_one_clear_sentence(name: str) -> None:
    outputs, maps, message = MISTAKES[name]
    with pytest.raises(ValueError, match="^DBCriterion: expected " + message):
        call(outputs, maps)


@pytest.mark.parametrize(
    "options",
    [
        {"negative_ratio": -1.0},
        {"min_negatives": -1},
        {"k": 0.0},
        {"smooth": -1.0},
        dict.fromkeys(("score_weight", "threshold_weight", "binary_weight")),
    ],
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^DBCriterion: expected [a-z_]+"):
        DBCriterion(**options)
