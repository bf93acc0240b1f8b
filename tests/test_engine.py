"""The training engine on a toy task: resuming, several processes, checkpoints, steps without a finite loss."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision.amp import MixedPrecision
from torch import nn
from torch.multiprocessing.spawn import ProcessRaisedException

from matchloss.recipes import checkpoint, engine, launch
from matchloss.recipes.checkpoint import load_checkpoint, save_checkpoint, write_atomically
from matchloss.recipes.data import DataError
from matchloss.recipes.engine import Training
from matchloss.recipes.errors import RunError
from matchloss.recipes.log import read_history
from matchloss.recipes.optim import learning_rate, make_optimizer
from matchloss.recipes.settings import Machine
from matchloss.recipes.stream import draws_of_step, step_seed
from toy_training import ToySettings, ToyTask, fail_in_process

CPU = Machine(accelerator="cpu")


class Killed(BaseException):
    """As sudden as a signal, for whoever catches exceptions only."""


def run_toy(run: Path, settings: ToySettings = ToySettings(), machine: Machine = CPU, task: type = ToyTask) -> dict:  # noqa: B008
    run.mkdir(exist_ok=True)
    launch.train(task, settings, run, machine)
    return load_checkpoint(run / "last.pt")


def history_without_times(run: Path) -> list[dict]:
    return [{name: value for name, value in record.items() if name != "seconds"} for record in read_history(run)]


def assert_same_run(run: Path, other: Path) -> None:
    """Weights, moments, best score and logged scalars are equal, bit for bit."""
    for name in ("last.pt", "best.pt"):
        one, two = load_checkpoint(run / name), load_checkpoint(other / name)
        assert one["model"].keys() == two["model"].keys()
        assert all(torch.equal(one["model"][key], two["model"][key]) for key in one["model"])
        moments, moments_two = one["optimizer"]["state"], two["optimizer"]["state"]
        assert moments
        for index in moments:
            assert all(torch.equal(moments[index][key], moments_two[index][key]) for key in moments[index])
        for state in (one["state"], two["state"]):
            del state["seconds"]
        assert one["state"] == two["state"]
    assert history_without_times(run) == history_without_times(other)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("unbroken")
    assert run_toy(run)["state"]["step"] == ToySettings().steps
    return run


def test_killed_and_resumed_equals_unbroken(unbroken: Path, tmp_path: Path) -> None:
    script = [sys.executable, str(Path(__file__).with_name("toy_training.py")), str(tmp_path), '{"pause": 0.05}']
    process = subprocess.Popen(script, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len([record for record in read_history(tmp_path) if "train" in record]) < 13:
        assert process.poll() is None, "ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert load_checkpoint(tmp_path / "last.pt")["state"]["step"] < 23
    run_toy(tmp_path)
    assert_same_run(tmp_path, unbroken)


@pytest.mark.parametrize("call", [1, 9, 17])
@pytest.mark.parametrize("place", ["step", "fsync", "replace", "validate"])
def test_killed_anywhere_and_resumed_equals_unbroken(
    place: str, call: int, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name = {
        "step": (ToyTask, "loss"),
        "fsync": (os, "fsync"),
        "replace": (Path, "replace"),
        "validate": (ToyTask, "validate"),
    }[place]
    call = {"step": call, "fsync": call // 3 + 1, "replace": call // 3 + 1, "validate": call // 6 + 1}[place]
    original, calls = getattr(owner, name), []

    def kill(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == call:
            raise Killed
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, kill)
        with pytest.raises(Killed):
            run_toy(tmp_path)
    run_toy(tmp_path)
    assert_same_run(tmp_path, unbroken)


def test_time_limit_stops_and_resume_finishes(unbroken: Path, tmp_path: Path) -> None:
    state = run_toy(tmp_path, machine=replace(CPU, time_limit=0.0))["state"]
    assert state["step"] == 1
    assert state["seconds"] > 0
    run_toy(tmp_path)
    one, two = load_checkpoint(tmp_path / "last.pt"), load_checkpoint(unbroken / "last.pt")
    assert all(torch.equal(one["model"][key], two["model"][key]) for key in two["model"])


def test_history_is_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    run_toy(tmp_path, replace(ToySettings(), steps=10))
    saved = load_checkpoint(tmp_path / "last.pt")
    saved["state"]["step"] = 5
    save_checkpoint(tmp_path / "last.pt", saved)
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"step": 11, "train": {"lo')  # cut by a kill
    run_toy(tmp_path, replace(ToySettings(), steps=10))
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines if "train" in json.loads(line)]
    assert steps == list(range(1, 11))


def test_two_processes_equal_one(tmp_path: Path) -> None:
    settings = replace(ToySettings(), dropout=0.0, steps=12)
    one = run_toy(tmp_path / "one", settings)
    two = run_toy(tmp_path / "two", settings, Machine(accelerator="cpu", devices=2))
    losses = [
        [record["train"]["cross_entropy"] for record in read_history(tmp_path / name) if "train" in record]
        for name in ("one", "two")
    ]
    assert len(losses[1]) == 12
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for key in one["model"]:
        torch.testing.assert_close(one["model"][key], two["model"][key], rtol=1e-3, atol=1e-5)


def test_error_of_a_spawned_process_comes_back_as_itself() -> None:
    with pytest.raises(ProcessRaisedException) as caught:
        torch.multiprocessing.spawn(fail_in_process, (), nprocs=1)
    error = launch._original(caught.value)
    assert type(error) is DataError
    assert str(error) == "images/3.png: expected a picture, got noise"
    refusal = ProcessRaisedException("\nTraceback\nmatchloss.recipes.errors.RunError: no", 0, 1)
    assert isinstance(launch._original(refusal), RunError)
    assert str(launch._original(refusal)) == "no"
    fault = ProcessRaisedException("\nTraceback\nValueError: images/3.png", 0, 1)
    assert launch._original(fault) is fault  # a fault of ours keeps its stack trace


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_file_is_one_sentence(workers: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^sample 3 is damaged: made so$"):
        run_toy(tmp_path, replace(ToySettings(), bad_sample=3), replace(CPU, workers=workers))


def test_workers_change_nothing(unbroken: Path, tmp_path: Path) -> None:
    run_toy(tmp_path, machine=replace(CPU, workers=2))
    assert_same_run(tmp_path, unbroken)


def test_seed_changes_the_weights(unbroken: Path, tmp_path: Path) -> None:
    other = run_toy(tmp_path, replace(ToySettings(), seed=1))["model"]
    assert not torch.equal(other["0.weight"], load_checkpoint(unbroken / "last.pt")["model"]["0.weight"])


def test_each_epoch_visits_every_sample_once() -> None:
    draws = [draw for step in range(15) for draw in draws_of_step(step, batch_size=4, size=10, seed=0)]
    epochs = [[draw.sample for draw in draws[start : start + 10]] for start in range(0, 60, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6
    assert [draw.position for draw in draws[:8]] == [0, 1, 2, 3] * 2
    assert draws_of_step(3, batch_size=4, size=10, seed=1) != draws[12:16]


def test_random_generators_differ_by_step_and_rank() -> None:
    seeds = {step_seed(seed, step, rank) for seed in range(3) for step in range(5) for rank in range(2)}
    assert len(seeds) == 30


def test_learning_rate_rises_and_falls() -> None:
    settings = replace(ToySettings(), steps=103, warmup=3, lr=0.3)
    rates = [learning_rate(settings, step) for step in range(103)]
    assert rates[:4] == pytest.approx([0.1, 0.2, 0.3, 0.3])
    assert rates[53] == pytest.approx(0.15)
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert 0 < rates[-1] < 1e-3
    assert learning_rate(replace(settings, steps=1, warmup=0), 0) == pytest.approx(0.3)


def test_learning_rate_reaches_the_optimizer(unbroken: Path) -> None:
    settings = ToySettings()
    logged = [record["optimizer"]["lr"] for record in read_history(unbroken) if "train" in record]
    assert logged == pytest.approx([learning_rate(settings, step) for step in range(settings.steps)])
    groups = load_checkpoint(unbroken / "last.pt")["optimizer"]["param_groups"]
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


def test_batch_must_be_shared_equally(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="a batch of 4 cannot be shared equally by 3 processes"):
        Training(SimpleNamespace(world_size=3), None, ToySettings(), tmp_path, CPU)


def test_missing_accelerator_is_one_sentence(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(RunError, match="cannot train on 1 x gpu"):
        run_toy(tmp_path, machine=Machine(accelerator="gpu"))


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


def test_checkpoint_holds_what_a_resume_needs(unbroken: Path) -> None:
    saved = torch.load(unbroken / "last.pt", weights_only=True)
    assert saved.keys() == {"model", "optimizer", "precision", "state", "settings", "version"}
    assert saved["settings"]["lr"] == 0.01
    assert saved["state"]["values"]["train"].keys() == {"loss", "cross_entropy", "size"}
    assert not list(unbroken.glob(".*"))


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, lambda file: file.write(b"old"))
    seen = []

    def fail(descriptor: int) -> None:
        seen.append(path.read_bytes())
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, lambda file: file.write(b"new"))
    assert seen == [b"old"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_damaged_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no checkpoint last\.pt in .*: the run has saved none yet"):
        load_checkpoint(tmp_path / "last.pt")
    save_checkpoint(tmp_path / "best.pt", {"weights": torch.zeros(1000)})
    with pytest.raises(RunError, match=r"no checkpoint last\.pt in .*: it has best\.pt"):
        load_checkpoint(tmp_path / "last.pt")
    content = (tmp_path / "best.pt").read_bytes()
    for damaged in (b"", b"text", content[: len(content) // 2]):
        (tmp_path / "best.pt").write_bytes(damaged)
        with pytest.raises(RunError, match=r"cannot read the checkpoint .*best\.pt") as caught:
            load_checkpoint(tmp_path / "best.pt")
        assert "\n" not in str(caught.value)


def test_checkpoint_that_would_run_code_is_not_read(tmp_path: Path) -> None:
    torch.save({"model": SimpleNamespace()}, tmp_path / "last.pt")
    with pytest.raises(RunError, match=r"cannot read the checkpoint .*last\.pt") as caught:
        load_checkpoint(tmp_path / "last.pt")
    assert "\n" not in str(caught.value)


def test_checkpoint_of_another_model_is_one_sentence(unbroken: Path, tmp_path: Path) -> None:
    saved = load_checkpoint(unbroken / "last.pt")
    for spoil in ({"model": {}}, {"state": {"steps": 3}}):
        save_checkpoint(tmp_path / "last.pt", saved | spoil)
        with pytest.raises(RunError, match=r"last\.pt does not fit this model") as caught:
            run_toy(tmp_path)
        assert "\n" not in str(caught.value)


def test_numpy_generator_of_a_sample_is_its_own(tmp_path: Path) -> None:
    seen: list[float] = []

    class Watched(ToyTask):
        def sample(self, index: int, rng: np.random.Generator) -> tuple[torch.Tensor, int]:
            seen.append(float(rng.random()))
            return super().sample(index, rng)

        def validate(self, model: nn.Module, fabric: object) -> dict[str, float]:
            return {"accuracy": 0.0}

    run_toy(tmp_path, replace(ToySettings(), steps=6), task=Watched)
    assert len(set(seen)) == 6 * 4


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
