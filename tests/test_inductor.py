"""A handful of losses through the real compiler; every row of the table goes through its tracer in test_losses.py."""

import shutil

import pytest
import torch

from cases import LOSSES
from inputs import absent_classes
from matchloss.criteria import SegmentationCriterion

pytestmark = pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
FEW = ("cross_entropy_loss", "sigmoid_focal_loss", "softmax_dice_loss")
CASES = {case.name: case for case in reversed(LOSSES) if case.name in FEW}


def value_and_gradient(loss, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    logits = logits.detach().float().requires_grad_()
    value = loss(logits)
    return value.detach(), torch.autograd.grad(value, logits)[0]


@pytest.mark.parametrize("name", FEW)
def test_compiled_loss_equals_eager(name: str) -> None:
    case = CASES[name]
    inputs = case.make(3)
    compiled = torch.compile(case.function, fullgraph=True)
    got = value_and_gradient(lambda x: compiled(x, inputs.targets), inputs.predictions)
    wanted = value_and_gradient(lambda x: case.function(x, inputs.targets), inputs.predictions)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)


def test_compiled_criterion_equals_eager() -> None:
    inputs = absent_classes(3)
    criterion = SegmentationCriterion({"cross_entropy": 1.0, "focal": 1.0, "dice": 1.0, "tversky": 0.5})
    compiled = torch.compile(criterion, fullgraph=True)
    got = value_and_gradient(lambda x: compiled(x, inputs.targets).total, inputs.predictions)
    wanted = value_and_gradient(lambda x: criterion(x, inputs.targets).total, inputs.predictions)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)
