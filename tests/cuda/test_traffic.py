"""How many operators run on a GPU, and how many bytes they move; a kernel is one, with what it is given and makes."""

import pytest

from traffic_cases import assert_within, calls

BOUNDS = {
    "focal of labels": (20, 3.2),  # the least is 3: the logits twice, and their gradient
    "focal of dense targets": (10, 5.1),  # 5: the targets twice, too
    "cross entropy and Dice": (74, 3.9),  # and labels of 8 bytes for every 19 logits
    "Dice": (51, 3.9),
    "GIoU": (9, 7.6),
    "CIoU": (9, 7.6),
}
"""Operators and units, of which the checks that read labels on a CPU are some."""


@pytest.mark.parametrize("name", BOUNDS)
def test_data_is_read_once_forward_and_once_backward(name: str, device: str) -> None:
    assert_within(calls(device)[name], *BOUNDS[name])
