"""EASTCriterion: its terms written out pixel by pixel, and what must change nothing."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import matchloss
import reference as ref
import text_scenes as scene
from matchloss import losses
from matchloss.criteria import EASTCriterion
from matchloss.types import EASTMaps, LossTerms

ALL = {"score_weight": 0.5, "dice_weight": 3.0, "iou_weight": 2.0, "angle_weight": 4.0, "quad_weight": 5.0}
PIXELS = scene.words().numel()
NAN, INF = float("nan"), float("inf")


class BoxDistance(nn.Module):
    """Squared difference of the five numbers of rotated boxes: a loss that shows which boxes it was given."""

    reduction = "mean"

    def forward(self, boxes: Tensor, target_boxes: Tensor, *, mask: Tensor) -> Tensor:
        assert self.reduction == "none"
        return torch.where(mask, (boxes - target_boxes).square().sum(-1), 0.0)


def in_numpy(outputs: list[Tensor], maps: EASTMaps, **options: Any) -> dict[str, Any]:
    arrays = {name: values.numpy() for name, values in maps._asdict().items()}
    return ref.east_terms(*(values.detach().numpy() for values in outputs), arrays, **options)


def expected(outputs: list[Tensor], maps: EASTMaps, divisor: str = "positives", **options: Any) -> dict[str, float]:
    """The terms with the weights of ALL."""
    terms = in_numpy(outputs, maps, **options)
    terms = {name: value for name, value in terms.items() if f"{name}_weight" in ALL}
    number = {"positives": in_numpy(outputs, maps)["positives"], "pixels": PIXELS}[divisor]
    return {
        name: ALL[f"{name}_weight"] * value / (1 if name in ("score", "dice") else number)
        for name, value in terms.items()
    }


def close(loss: LossTerms, wanted: dict[str, float]) -> None:
    assert list(loss.terms) == list(wanted)
    for name, value in wanted.items():
        assert loss.terms[name].item() == pytest.approx(value, rel=1e-10), name
    assert loss.total.item() == pytest.approx(sum(wanted.values()), rel=1e-10)


@pytest.mark.parametrize("channels", [5, 8])
@pytest.mark.parametrize("divisor", ["positives", "pixels"])
@pytest.mark.parametrize("dice", [{}, {"dice_form": "squared", "dice_smooth": 1.0}])
def test_equals_the_terms_written_out(channels: int, divisor: Any, dice: Any) -> None:
    outputs, maps = scene.outputs(channels), scene.maps(channels)
    loss = EASTCriterion(**ALL, **dice, geometry_mean=divisor)(*outputs, maps)
    close(loss, expected(outputs, maps, divisor, **dice))


def test_equals_the_terms_of_smoothed_edges_and_of_probabilities() -> None:
    outputs, maps = scene.outputs(), scene.maps()
    outputs[0] = outputs[0].sigmoid()
    outputs[0][0, 0, 1, 0], outputs[0][0, 0, 0, 0] = 0.0, 1.0  # a miss and a false alarm, all certain
    outputs = scene.leaves(outputs)
    loss = EASTCriterion(**ALL, iou_smooth=1.0, score_input="probabilities")(*outputs, maps)
    close(loss, expected(outputs, maps, smooth=1.0, probabilities=True))
    assert all(grad.isfinite().all() for grad in scene.gradients(loss, outputs))


@pytest.mark.parametrize("order", ["trbl", "tblr"])
def test_rotated_boxes_are_those_whose_corners_the_edges_meet_in(order: Any) -> None:
    outputs, maps = scene.outputs(), scene.maps()
    loss = EASTCriterion(geometry_loss=BoxDistance(), iou_weight=2.0, distance_order=order)(*outputs, maps)
    terms = in_numpy(outputs, maps, order=order)
    wanted = sum((a - b) ** 2 for boxes in terms["boxes"] for a, b in zip(*boxes, strict=True)) / terms["positives"]
    assert list(loss.terms) == ["score", "iou"]
    assert loss.terms["iou"].item() == pytest.approx(2 * wanted, rel=1e-10)


@pytest.mark.parametrize(
    "name", ["RotatedIoULoss", "RotatedGIoULoss", "ProbIoULoss", "KLDLoss", "GWDLoss", "KFIoULoss"]
)
def test_losses_of_rotated_boxes_pull_on_every_number(name: str) -> None:
    outputs, maps = scene.outputs(requires_grad=True), scene.maps()
    module = getattr(losses, name)()
    loss = EASTCriterion(geometry_loss=module)(*outputs, maps)
    _, geometry = scene.gradients(loss, outputs)
    positive = (maps.mask & (maps.score == 1)).expand_as(geometry)
    assert ((geometry != 0) == positive).float().mean() > 0.98
    assert not geometry[~positive].any()
    assert module.reduction == "mean"  # the criterion has a copy
    far = [outputs[0], torch.where(positive, 1e3 * outputs[1], NAN).detach().half().requires_grad_()]
    loss = EASTCriterion(geometry_loss=module)(*far, maps)
    assert all(grad.isfinite().all() for grad in scene.gradients(loss, far))


def test_stats_say_what_there_is() -> None:
    outputs, maps = scene.outputs(), scene.maps()
    outputs[1][:, 4] += 2 * torch.pi  # whole turns are no error
    stats = EASTCriterion()(*outputs, maps).stats
    outputs[1][:, 4] -= 2 * torch.pi
    terms = in_numpy(outputs, maps)
    assert list(stats) == ["positives", "valid_pixels", "beta", "mean_iou", "angle_error"]
    assert stats["positives"] == terms["positives"] == 13
    assert stats["valid_pixels"] == terms["valid"]
    assert stats["beta"].item() == pytest.approx(terms["beta"])
    assert stats["mean_iou"].item() == pytest.approx(sum(terms["ious"]) / 13)
    assert stats["angle_error"].item() == pytest.approx(sum(terms["turns"]) / 13)
    assert not any(value.requires_grad or value.ndim for value in stats.values())
    assert list(EASTCriterion()(*scene.outputs(8), scene.maps(8)).stats) == ["positives", "valid_pixels", "beta"]


@pytest.mark.parametrize("channels", [5, 8])
def test_only_words_learn_geometry_and_masked_pixels_nothing(channels: int) -> None:
    outputs, maps = scene.outputs(channels, requires_grad=True), scene.maps(channels)
    score, geometry = scene.gradients(EASTCriterion(**ALL)(*outputs, maps), outputs)
    assert torch.equal(score != 0, maps.mask)
    assert torch.equal((geometry != 0).all(1, keepdim=True), maps.mask & (maps.score == 1))
    assert torch.equal((geometry != 0).any(1, keepdim=True), maps.mask & (maps.score == 1))


@pytest.mark.parametrize("channels", [5, 8])
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_what_does_not_count_may_be_anything(channels: int, bad: float) -> None:
    maps, criterion = scene.maps(channels), EASTCriterion(**ALL)
    outputs = scene.outputs(channels)
    positive = maps.mask & (maps.score == 1)
    poisoned = [torch.where(maps.mask, outputs[0], bad), torch.where(positive, outputs[1], bad)]
    bad_maps = maps._replace(
        score=torch.where(maps.mask, maps.score, bad), geometry=torch.where(positive, maps.geometry, bad)
    )
    wanted, got = scene.leaves(outputs), scene.leaves(poisoned)
    for path in ("fast", "plain"):
        with matchloss.reference() if path == "plain" else torch.enable_grad():
            loss, other = criterion(*wanted, maps), criterion(*got, bad_maps)
            torch.testing.assert_close(other, loss)
            torch.testing.assert_close(scene.gradients(other, got), scene.gradients(loss, wanted))


@pytest.mark.parametrize("channels", [5, 8])
def test_a_nan_that_counts_is_seen(channels: int) -> None:
    maps = scene.maps(channels)
    for number, place in ((0, (0, 0, 0, 0)), (0, (0, 0, 1, 0)), (1, (0, channels - 1, 1, 0)), (1, (0, 0, 1, 0))):
        outputs = scene.outputs(channels)
        outputs[number][place] = NAN
        for score in ({}, {"score_weight": None, "dice_weight": 1.0}):
            assert EASTCriterion(**score)(*outputs, maps).total.isnan()


def test_a_nan_of_the_maps_does_not_pass_for_a_batch_without_text() -> None:
    maps = scene.maps()
    maps.score[0, 0, 0, 0] = NAN
    assert EASTCriterion(**ALL, empty="zero")(*scene.outputs(), maps).terms["dice"].isnan()


@pytest.mark.parametrize("empty", ["negatives", "paper", "zero"])
@pytest.mark.parametrize("channels", [5, 8])
def test_batch_without_text(empty: Any, channels: int) -> None:
    outputs, maps = scene.outputs(channels, requires_grad=True), scene.maps(channels)
    criterion = EASTCriterion(**ALL, empty=empty)
    some, none = criterion(*outputs, maps), criterion(*outputs, scene.without_text(maps))
    assert list(none.terms) == list(some.terms)
    assert list(none.stats) == list(some.stats)
    assert all(term.requires_grad for term in none.terms.values())
    plain = in_numpy(outputs, scene.without_text(maps))["plain"] if empty == "negatives" else 0.0
    dice = 3.0 if empty == "paper" else 3 * plain
    rest = dict.fromkeys(list(none.terms)[2:], 0.0)
    close(none, {"score": 0.5 * plain, "dice": dice, **rest})
    score, geometry = scene.gradients(none, outputs)
    assert not geometry.any()
    assert torch.equal(score > 0, maps.mask & (empty == "negatives"))


def test_all_words_hidden_is_a_batch_without_text() -> None:
    """Annotations that are all unreadable: ports then stand still at a constant loss."""
    outputs, maps = scene.outputs(requires_grad=True), scene.maps()
    maps = maps._replace(mask=maps.mask & (maps.score == 0))
    loss = EASTCriterion(**ALL)(*outputs, maps)
    assert loss.stats["positives"] == 0
    assert torch.equal(scene.gradients(loss, outputs)[0] > 0, maps.mask)


@pytest.mark.parametrize("channels", [5, 8])
@pytest.mark.parametrize("empty", ["negatives", "paper", "zero"])
def test_nothing_valid_is_zero_with_a_graph(channels: int, empty: Any) -> None:
    maps = scene.maps(channels)
    maps = maps._replace(mask=torch.zeros_like(maps.mask))
    outputs = scene.leaves([torch.full_like(values, NAN) for values in scene.outputs(channels)])
    no_images = [values[:0].detach().requires_grad_() for values in outputs]
    for found, fields in ((outputs, maps), (no_images, scene.of_images(maps, slice(0, 0)))):
        loss = EASTCriterion(**ALL, empty=empty)(*found, fields)
        assert loss.total == 0
        assert not any(grad.any() for grad in scene.gradients(loss, found))
