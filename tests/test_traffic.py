"""How many operators run, and how many bytes they move: a change that adds a pass over the data fails here.

Counts are the same on every machine, so the bounds are what was counted, rounded up. A unit is the size of the logits,
or boxes. What a kernel does inside itself is not counted here but around it; tests/cuda counts the operators that are
kernels for a GPU, with all that they are given.
"""

import pytest
import torch

import matchloss
from matchloss._core import has_numba
from traffic import traffic_of
from traffic_cases import assert_within, calls

WITH_KERNELS = {
    "focal of labels": (21, 0.2),
    "focal of dense targets": (5, 1.1),
    "cross entropy and Dice": (73, 0.6),
    "Dice": (50, 0.5),
    "Lovász": (39, 12.5),
    "GIoU": (7, 3.3),
    "CIoU": (7, 3.3),
}
"""Operators and units."""
PLAIN = {
    "focal of labels": (62, 90.2),
    "focal of dense targets": (36, 78.6),
    "cross entropy and Dice": (117, 28.5),
    "Dice": (92, 28.4),
    "Lovász": (70, 84.9),
    "GIoU": (236, 147.0),
    "CIoU": (376, 231.5),
}


@pytest.mark.skipif(not has_numba(), reason="the bounds are those of the kernels")
@pytest.mark.parametrize("name", WITH_KERNELS)
def test_kernels_leave_few_passes(name: str) -> None:
    assert_within(calls("cpu")[name], *WITH_KERNELS[name])


@pytest.mark.parametrize("name", PLAIN)
def test_the_plain_form_gains_no_pass(name: str) -> None:
    with matchloss.reference():
        assert_within(calls("cpu")[name], *PLAIN[name])


def test_every_call_has_its_bounds() -> None:
    assert set(WITH_KERNELS) == set(PLAIN) == set(calls("cpu"))


def test_a_pass_more_is_seen() -> None:
    values = torch.randn(100, 10)
    once, twice = traffic_of(lambda: values.exp()), traffic_of(lambda: values.exp().exp())
    assert (once.operators, once.units(values)) == (1, 2)
    assert (twice.operators, twice.units(values)) == (2, 4)
    assert traffic_of(lambda: values.t().unsqueeze(0)).bytes == 0
