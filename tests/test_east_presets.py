"""EASTCriterion's presets are the paper's and the ports' formulas, weights with their divisors."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import reference as ref
import text_scenes as scene
from matchloss.criteria import EASTCriterion
from matchloss.types import EASTMaps

TBLR = [0, 2, 3, 1, 4]
"""Where "tblr" and the angle are in top, right, bottom, left and the angle."""

PORTS: dict[str, Callable[..., dict[str, float]]] = {"argman": ref.argman_loss, "sakura": ref.sakura_loss}


def tensors(name: str, **options: Any) -> tuple[list[Tensor], EASTMaps]:
    """Outputs and maps, of the same boxes, in the preset's order of distances."""
    outputs, maps = scene.outputs(**options), scene.maps()
    if name == "sakura":
        outputs[1], maps = outputs[1][:, TBLR], maps._replace(geometry=maps.geometry[:, TBLR])
    return outputs, maps


def arrays(maps: EASTMaps) -> dict[str, Any]:
    return {name: values.numpy() for name, values in maps._asdict().items()}


def in_numpy(name: str, outputs: list[Tensor], maps: EASTMaps, **options: Any) -> dict[str, float]:
    score, geometry = (values.detach().numpy() for values in outputs)
    if name == "paper":
        return ref.east_paper_loss(score, geometry, arrays(maps))
    return PORTS[name](1 / (1 + np.exp(-score)), geometry, arrays(maps), **options)


@pytest.mark.parametrize("name", ["paper", "argman", "sakura"])
def test_equals_the_formula_in_numpy(name: str) -> None:
    outputs, maps = tensors(name)
    loss = getattr(EASTCriterion, name)()(*outputs, maps)
    wanted = in_numpy(name, outputs, maps, **({} if name == "paper" else {"eps": 0.0}))
    assert list(loss.terms) == list(wanted)
    for key, value in wanted.items():
        assert loss.terms[key].item() == pytest.approx(value, rel=1e-10), key
    assert loss.total.item() == pytest.approx(sum(wanted.values()), rel=1e-10)


@pytest.mark.parametrize("name", PORTS)
def test_the_epsilon_left_out_of_dice_is_nothing(name: str) -> None:
    outputs, maps = tensors(name)
    loss = getattr(EASTCriterion, name)()(*outputs, maps)
    assert loss.total.item() == pytest.approx(sum(in_numpy(name, outputs, maps).values()), abs=2e-6)


@pytest.mark.parametrize("name", ["paper", "argman", "sakura"])
def test_gradient_equals_finite_differences(name: str) -> None:
    outputs, maps = tensors(name)
    outputs = scene.leaves(outputs)
    criterion = getattr(EASTCriterion, name)()
    assert torch.autograd.gradcheck(lambda *found: criterion(*found, maps).total, outputs, fast_mode=True)


def test_an_order_of_distances_is_only_an_order() -> None:
    outputs, maps = tensors("paper")
    wanted = EASTCriterion(iou_smooth=1.0)(*outputs, maps)
    outputs, maps = tensors("sakura")
    torch.testing.assert_close(EASTCriterion(iou_smooth=1.0, distance_order="tblr")(*outputs, maps), wanted)
    mistaken = EASTCriterion(iou_smooth=1.0, distance_order="trbl")(*outputs, maps)
    assert not torch.isclose(mistaken.terms["iou"], wanted.terms["iou"], rtol=1e-3)


def test_weights_of_one_port_and_divisor_of_another_are_far_off() -> None:
    """Why presets bundle both: the same boxes weigh as many times more as there are pixels a positive."""
    outputs, maps = tensors("argman")
    own = EASTCriterion.argman()(*outputs, maps)
    mixed = EASTCriterion(score_weight=None, dice_weight=0.01, angle_weight=20.0, iou_smooth=1.0)(*outputs, maps)
    pixels_a_positive = maps.score.numel() / own.stats["positives"]
    torch.testing.assert_close(mixed.terms["iou"], own.terms["iou"] * pixels_a_positive)
    torch.testing.assert_close(mixed.terms["dice"], own.terms["dice"])


def test_without_text_sakura_is_zero_and_the_others_fear_false_alarms() -> None:
    for name in ("paper", "argman", "sakura"):
        outputs, maps = tensors(name, requires_grad=True)
        maps = scene.without_text(maps)
        loss = getattr(EASTCriterion, name)()(*outputs, maps)
        score, geometry = scene.gradients(loss, outputs)
        assert loss.terms["iou"] == loss.terms["angle"] == 0
        assert not geometry.any()
        assert score.any() == (name != "sakura")
        assert (loss.total > 0) == (name != "sakura")
