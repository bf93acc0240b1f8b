"""Set matching on the CPU in one go: equal to the plain form, at any logits, in any number of threads."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import matchloss
from matchloss import Matching
from matchloss._core import has_numba
from matchloss.assigners import HungarianAssigner
from test_hungarian import ASSIGNERS, Scene, assert_equal, scene

pytestmark = pytest.mark.skipif(not has_numba(), reason="compares the kernel with the plain form")
COSTS = ("detr", "deformable_detr")
SHAPES = (((3,), 37, 6), ((2, 3), 70, 20), ((2, 2, 2), 5, 9), ((1,), 33, 1), ((4,), 32, 0), ((2,), 0, 3))


def both(rule: HungarianAssigner, one: Scene) -> tuple[Matching, Matching]:
    with matchloss.reference():
        plain = rule(one.logits, one.boxes, one.targets)
    return rule(one.logits, one.boxes, one.targets), plain


def assert_same(found: Matching, plain: Matching) -> None:
    assert_equal(found, plain)
    assert found.stats.keys() == plain.stats.keys()
    assert all(torch.equal(count, plain.stats[name]) for name, count in found.stats.items())


@pytest.mark.parametrize("surplus", ["leave", "share"])
@pytest.mark.parametrize("name", COSTS)
def test_equals_the_plain_form(name: str, surplus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from matchloss.kernels import matching_cpu

    rule = replace(ASSIGNERS[name], surplus=surplus)
    for seed, (leading, queries, targets) in enumerate(SHAPES):
        one = scene(name, seed, leading=leading, queries=queries, targets=targets).to(torch.float32)
        found, plain = both(rule, one)
        assert_same(found, plain)
        with monkeypatch.context() as change:
            change.setattr(matching_cpu, "PAIRS_A_THREAD", 1)
            change.setattr(torch, "get_num_threads", lambda: 3)
            assert_same(both(rule, one)[0], found)


@pytest.mark.parametrize("value", [torch.nan, -torch.nan, torch.inf, -torch.inf, 3e38])
@pytest.mark.parametrize("name", COSTS)
def test_logits_that_are_not_finite_break_the_same_pairs(name: str, value: float) -> None:
    one = scene(name, 40, leading=(2,), queries=50, targets=12).to(torch.float32)
    logits = one.logits.clone()
    logits[0, ::7, 1] = value
    logits[1, 3:5] = value
    logits[1, 40:, -1] = value
    assert_same(*both(replace(ASSIGNERS[name], surplus="share"), replace(one, logits=logits)))


def test_a_query_far_below_the_others_keeps_its_digits() -> None:
    rule = replace(ASSIGNERS["class alone"], class_weight=1.0)
    one = scene("detr", 41, leading=(1,), queries=64, targets=12).to(torch.float32)
    offsets = torch.tensor([0.0, -3.0, -9.0, -40.0, -200.0, 60.0])[torch.arange(64) % 6]
    one = replace(one, logits=one.logits + offsets[:, None])
    total = rule._total(rule._read(one.logits, one.boxes, one.targets))[0, one.usable[0]]
    exact = -one.logits[0].double().softmax(-1).T[one.targets.labels[0, one.usable[0]]]
    assert len(total) > 5
    np.testing.assert_allclose(total.double().numpy(), exact.numpy(), rtol=1e-6, atol=1e-9)


def test_a_nan_of_any_bits_stays_one() -> None:
    bits = torch.tensor([0x7FC00000, 0x7F800001, 0x7FFFFFFF, -0x400000, -1], dtype=torch.int32)
    one = scene("detr", 42, leading=(1,), queries=40, targets=3).to(torch.float32)
    logits = one.logits.clone()
    logits[0, :5, 2] = bits.view(torch.float32)
    found, plain = both(ASSIGNERS["detr"], replace(one, logits=logits))
    assert_same(found, plain)
    assert (found.target_of_query[0, :5] == -1).all()


def test_fields_of_targets_that_differ_in_shape_are_named() -> None:
    one = scene("detr", 43).to(torch.float32)
    with pytest.raises(ValueError, match="valid"):
        ASSIGNERS["detr"](one.logits, one.boxes, one.targets._replace(valid=one.targets.valid[:, :2]))


def test_inputs_may_lie_in_any_order() -> None:
    one = scene("detr", 44, leading=(2, 3), queries=20).to(torch.float32)
    turned = replace(
        one, logits=one.logits.mT.contiguous().mT, boxes=one.boxes.transpose(0, 1).contiguous().transpose(0, 1)
    )
    assert_same(both(ASSIGNERS["detr"], turned)[0], both(ASSIGNERS["detr"], one)[0])
