"""The average of the weights: what it is, and what the engine does with it."""

import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision.amp import MixedPrecision
from torch import nn

from matchloss.recipes import launch
from matchloss.recipes.checkpoint import load_checkpoint, save_checkpoint, trained_weights
from matchloss.recipes.ema import AveragedModel
from matchloss.recipes.errors import RunError
from matchloss.recipes.settings import Machine
from matchloss.types import LossTerms
from toy_training import CPU, ToySettings, ToyTask, assert_same_run, run_toy

AVERAGED = replace(ToySettings(), ema=0.9)


def test_average_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False)
    model.register_buffer("seen", torch.tensor(0))
    nn.init.constant_(model.weight, 10.0)
    average = AveragedModel(model, decay=0.25)
    for weight in (20.0, 30.0, 40.0):
        nn.init.constant_(model.weight, weight)
        model.seen += 7
        average.update(model)
    # The decay begins at 2 / 11 and would be 3 / 12 and 4 / 13 next; 0.25 is the most it may be.
    expected = 10 + (20 - 10) * 9 / 11
    expected += (30 - expected) * 0.75
    expected += (40 - expected) * 0.75
    assert average.model.weight.item() == pytest.approx(expected, rel=1e-6)
    assert average.model.seen.item() == 21
    assert not average.model.training
    assert not average.model.weight.requires_grad
    assert model.weight.requires_grad
    assert model.weight.item() == 40


def test_decay_of_zero_follows_at_once() -> None:
    model = nn.Linear(3, 3)
    average = AveragedModel(model, decay=0.0)
    nn.init.normal_(model.weight)
    average.update(model)
    assert torch.equal(average.model.weight, model.weight)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("averaged")
    saved = run_toy(run, AVERAGED)
    assert saved["ema"]["updates"] == saved["state"]["step"] == AVERAGED.steps
    return run


def test_average_is_apart_from_the_weights_it_follows(unbroken: Path, tmp_path: Path) -> None:
    saved = load_checkpoint(unbroken / "last.pt")
    assert saved.keys() == {"model", "optimizer", "precision", "state", "memory", "settings", "version", "ema"}
    weights, average = saved["model"], trained_weights(saved)
    assert weights.keys() == average.keys()
    assert not any(torch.equal(weights[key], average[key]) for key in weights)
    plain = run_toy(tmp_path, ToySettings())  # the same steps, with nobody watching
    assert all(torch.equal(weights[key], plain["model"][key]) for key in weights)
    assert trained_weights(plain) is plain["model"]


@pytest.mark.parametrize(("place", "call"), [("loss", 9), ("loss", 17), ("validate", 3), ("fsync", 4)])
def test_killed_and_resumed_equals_unbroken(
    place: str, call: int, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """As sudden as a signal."""

    owner = os if place == "fsync" else ToyTask
    original, calls = getattr(owner, place), []

    def kill(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == call:
            raise Killed
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(owner, place, kill)
        with pytest.raises(Killed):
            run_toy(tmp_path, AVERAGED)
    run_toy(tmp_path, AVERAGED)
    assert_same_run(tmp_path, unbroken)


def test_average_is_what_is_scored(tmp_path: Path) -> None:
    class Watched(ToyTask):
        def validate(self, model: nn.Module, fabric: object) -> dict[str, float]:
            assert model is not self.model
            assert not model.training
            seen.append(model[0].weight.clone())
            return {"accuracy": 0.5}

        def loss(self, model: nn.Module, batch: object) -> LossTerms:
            assert all(part.training for part in model.modules())
            return super().loss(model, batch)

    seen: list[torch.Tensor] = []
    saved = run_toy(tmp_path, replace(AVERAGED, steps=12, validate_every=6), task=Watched)
    assert torch.equal(seen[-1], saved["ema"]["model"]["0.weight"])
    assert torch.equal(seen[0], trained_weights(load_checkpoint(tmp_path / "best.pt"))["0.weight"])


def spoiled(bad_step: int) -> type:
    """A toy task with a gradient that is not finite at one step, while its loss is."""

    class Spoiled(ToyTask):
        step = 0

        def loss(self, model: nn.Module, batch: object) -> LossTerms:
            terms = super().loss(model, batch)
            self.step += 1
            if self.step != bad_step:
                return terms
            bias = model.module[0].bias.float()
            return terms._replace(total=terms.total + (bias - bias.detach()).abs().sqrt().sum())  # d sqrt(x) at 0

    return Spoiled


def test_skipped_steps_leave_the_average_alone(tmp_path: Path) -> None:
    settings = replace(AVERAGED, steps=4, save_every=1)
    before = run_toy(tmp_path / "before", replace(settings, steps=1), task=spoiled(9))
    after = run_toy(tmp_path / "after", replace(settings, steps=2), task=spoiled(2))
    assert after["state"]["skipped"] == 1
    assert after["ema"]["updates"] == 1
    # The schedules differ in length, but not in the warm-up.
    assert all(torch.equal(before["ema"]["model"][key], after["ema"]["model"][key]) for key in before["model"])


def test_steps_that_the_loss_scaler_skips_leave_the_average_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    precision = MixedPrecision("16-mixed", "cpu", scaler)
    monkeypatch.setattr(launch, "Fabric", lambda **_: Fabric(accelerator="cpu", devices=1, plugins=precision))
    saved = run_toy(tmp_path, replace(AVERAGED, steps=4), task=spoiled(2))
    assert saved["precision"]["scale"] == 2.0**9
    assert saved["ema"]["updates"] == 3
    assert all(math.isfinite(float(weight.sum())) for weight in saved["ema"]["model"].values())


def test_two_processes_average_as_one(tmp_path: Path) -> None:
    settings = replace(AVERAGED, dropout=0.0, steps=6)
    one = run_toy(tmp_path / "one", settings)["ema"]
    two = run_toy(tmp_path / "two", settings, Machine(accelerator="cpu", devices=2))["ema"]
    for key in one["model"]:
        torch.testing.assert_close(one["model"][key], two["model"][key], rtol=1e-3, atol=1e-5)


def test_checkpoint_without_an_average_is_one_sentence(unbroken: Path, tmp_path: Path) -> None:
    saved = load_checkpoint(unbroken / "last.pt")
    del saved["ema"]
    save_checkpoint(tmp_path / "last.pt", saved)
    with pytest.raises(RunError, match=r"last\.pt does not fit this model .* 'ema'"):
        run_toy(tmp_path, AVERAGED, CPU)
