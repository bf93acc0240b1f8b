"""What the training engine does in a step: learning rate, clipping, losses that are not finite, the loss scale."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision.amp import MixedPrecision
from torch import nn

from matchloss.recipes import engine, launch
from matchloss.recipes.checkpoint import load_checkpoint, save_checkpoint
from matchloss.recipes.errors import RunError
from matchloss.recipes.log import read_history
from matchloss.recipes.optim import learning_rate, make_optimizer
from toy_training import CPU, ToySettings, ToyTask, run_toy


def test_learning_rate_rises_and_falls() -> None:
    settings = replace(ToySettings(), steps=103, warmup=3, lr=0.3)
    rates = [learning_rate(settings, step) for step in range(103)]
    assert rates[:4] == pytest.approx([0.1, 0.2, 0.3, 0.3])
    assert rates[53] == pytest.approx(0.15)
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert 0 < rates[-1] < 1e-3
    assert learning_rate(replace(settings, steps=1, warmup=0), 0) == pytest.approx(0.3)


def test_learning_rate_reaches_the_optimizer(tmp_path: Path) -> None:
    settings = ToySettings()
    saved = run_toy(tmp_path, settings)
    logged = [record["optimizer"]["lr"] for record in read_history(tmp_path) if "train" in record]
    assert logged == pytest.approx([learning_rate(settings, step) for step in range(settings.steps)])
    groups = saved["optimizer"]["param_groups"]
    assert [group["lr"] for group in groups] == pytest.approx([logged[-1]] * 2)


def test_only_matrices_decay() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.GroupNorm(1, 2))
    model[0].bias.requires_grad_(False)
    decaying, rest = make_optimizer(model, replace(ToySettings(), weight_decay=0.5)).param_groups
    assert (decaying["weight_decay"], rest["weight_decay"]) == (0.5, 0.0)
    assert [tuple(parameter.shape) for parameter in decaying["params"]] == [(2, 1, 3, 3)]
    assert len(rest["params"]) == 2


def test_gradients_are_clipped(tmp_path: Path) -> None:
    class Steep(ToyTask):
        def loss(self, model: nn.Module, batch: object) -> engine.LossTerms:
            terms = super().loss(model, batch)
            return terms._replace(total=terms.total * 1e6)

    class Watched(Steep):
        def __init__(self, settings: ToySettings, run: Path) -> None:
            super().__init__(settings, run)
            torch.manual_seed(7)

        def validate(self, model: nn.Module, fabric: object) -> dict[str, float]:
            return {"accuracy": 0.0}

    run_toy(tmp_path, replace(ToySettings(), steps=1, clip_norm=0.5), task=Watched)
    assert read_history(tmp_path)[0]["optimizer"]["norm"] > 1e3
    state = load_checkpoint(tmp_path / "last.pt")["optimizer"]["state"]
    # After one step the first moment is a tenth of the clipped gradient.
    norm = math.sqrt(sum(float(moments["exp_avg"].square().sum()) for moments in state.values()))
    assert norm == pytest.approx(0.05, rel=1e-3)


def spoiled(steps: set[int], kind: str) -> type:
    """A toy task whose loss, or only its gradient, is not finite at the given steps."""

    class Spoiled(ToyTask):
        step = 0

        def loss(self, model: nn.Module, batch: object) -> engine.LossTerms:
            terms = super().loss(model, batch)
            self.step += 1
            if self.step not in steps:
                return terms
            if kind == "loss":
                return terms._replace(total=terms.total * math.nan)
            bias = model.module[0].bias.float()
            return terms._replace(total=terms.total + (bias - bias.detach()).abs().sqrt().sum())  # d sqrt(x) at 0

    return Spoiled


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_step_without_a_finite_loss_is_skipped(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = replace(ToySettings(), steps=5, save_every=1)
    before = run_toy(tmp_path / "before", replace(settings, warmup=0, lr=0.0))  # weights as they were at the start
    saved = run_toy(tmp_path / "first", replace(settings, steps=1), task=spoiled({1}, kind))
    assert all(torch.equal(saved["model"][key], before["model"][key]) for key in saved["model"])
    assert saved["optimizer"]["state"] == {}
    saved = run_toy(tmp_path / "some", settings, task=spoiled({2, 3, 5}, kind))
    assert (saved["state"]["skipped"], saved["state"]["skipped_in_a_row"], saved["state"]["step"]) == (3, 1, 5)
    assert all(bool(torch.isfinite(weight).all()) for weight in saved["model"].values())
    assert saved["optimizer"]["state"][0]["step"] == 2
    printed = capsys.readouterr().out
    assert "warning: step 2 skipped" in printed
    assert "3 steps skipped" in printed
    loss = read_history(tmp_path / "some")[1]["train"]["loss"]
    assert loss is None if kind == "loss" else math.isfinite(loss)


def test_ten_bad_steps_in_a_row_stop(tmp_path: Path) -> None:
    settings = replace(ToySettings(), steps=30)
    with pytest.raises(RunError, match="not finite in 10 steps in a row, the last being 13"):
        run_toy(tmp_path / "ten", settings, task=spoiled({2, *range(4, 30)}, "loss"))
    nine = run_toy(tmp_path / "nine", settings, task=spoiled({*range(1, 10), *range(11, 20)}, "loss"))
    assert nine["state"]["skipped"] == 18


def test_best_checkpoint_is_that_of_the_best_score(tmp_path: Path) -> None:
    class Scored(ToyTask):
        scores = iter([math.nan, 0.2, math.nan, 0.7, 0.5])

        def validate(self, model: nn.Module, fabric: object) -> dict[str, float]:
            assert not model.training
            assert not torch.is_grad_enabled()
            return {"accuracy": next(self.scores)}

    last = run_toy(tmp_path, replace(ToySettings(), steps=5, validate_every=1), task=Scored)
    best = load_checkpoint(tmp_path / "best.pt")
    assert (best["state"]["step"], best["state"]["best"]) == (4, 0.7)
    assert (last["state"]["step"], last["state"]["best"]) == (5, 0.7)


@pytest.fixture
def float16_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss scaler without a GPU; Fabric itself falls back to bfloat16 there."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=4)
    precision = MixedPrecision("16-mixed", "cpu", scaler)
    monkeypatch.setattr(launch, "Fabric", lambda **_: Fabric(accelerator="cpu", devices=1, plugins=precision))


@pytest.mark.usefixtures("float16_on_cpu")
def test_loss_scale_is_lowered_kept_and_resumed(tmp_path: Path) -> None:
    settings = replace(ToySettings(), steps=9, save_every=1)
    unbroken = run_toy(tmp_path / "unbroken", settings, task=spoiled({2}, "gradient"))
    assert unbroken["precision"]["scale"] == 2.0**10  # halved once, doubled again after four good steps
    assert unbroken["state"]["skipped"] == 0  # what the scaler skips is its everyday work
    assert unbroken["optimizer"]["state"][0]["step"] == 8
    run_toy(tmp_path / "resumed", settings, replace(CPU, time_limit=0.0))
    saved = load_checkpoint(tmp_path / "resumed" / "last.pt")
    saved["precision"]["scale"] = 2.0**7
    save_checkpoint(tmp_path / "resumed" / "last.pt", saved)
    assert run_toy(tmp_path / "resumed", settings)["precision"]["scale"] == 2.0**9  # doubled twice


@pytest.mark.usefixtures("float16_on_cpu")
def test_loss_that_is_never_finite_stops_with_a_scaler_too(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not finite in 10 steps in a row"):
        run_toy(tmp_path, task=spoiled(set(range(1, 30)), "loss"))


def test_float16_without_a_scaler_skips_bad_steps(tmp_path: Path) -> None:
    saved = run_toy(tmp_path, replace(ToySettings(), steps=4, precision="16-mixed"), task=spoiled({2}, "loss"))
    assert saved["state"]["skipped"] == 1
    assert all(bool(torch.isfinite(weight).all()) for weight in saved["model"].values())


def test_channels_last_gives_the_same_training(tmp_path: Path) -> None:
    weights = []
    for channels_last in (False, True):
        settings = replace(ToySettings(), steps=3, dropout=0.0, channels_last=channels_last)
        weights.append(run_toy(tmp_path / str(channels_last), settings)["model"])
    for key in weights[0]:
        torch.testing.assert_close(weights[0][key], weights[1][key], rtol=1e-3, atol=1e-5)
    assert weights[1]["0.weight"].is_contiguous(memory_format=torch.channels_last)
