"""The training engine on a toy task: resuming after a kill, several processes, which samples a step sees."""

import json
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
from torch import nn
from torch.multiprocessing.spawn import ProcessRaisedException

from matchloss.recipes import launch
from matchloss.recipes.checkpoint import load_checkpoint, save_checkpoint
from matchloss.recipes.data import DataError
from matchloss.recipes.engine import Training
from matchloss.recipes.errors import RunError
from matchloss.recipes.log import read_history
from matchloss.recipes.settings import Machine
from matchloss.recipes.stream import draws_of_step, step_seed
from toy_training import CPU, ToySettings, ToyTask, assert_same_run, fail_in_process, run_toy


class Killed(BaseException):
    """As sudden as a signal, for whoever catches exceptions only."""


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


def test_workers_change_nothing(unbroken: Path, tmp_path: Path) -> None:
    run_toy(tmp_path, machine=replace(CPU, workers=2))
    assert_same_run(tmp_path, unbroken)


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


def test_seed_changes_the_weights(unbroken: Path, tmp_path: Path) -> None:
    other = run_toy(tmp_path, replace(ToySettings(), seed=1))["model"]
    assert not torch.equal(other["0.weight"], load_checkpoint(unbroken / "last.pt")["model"]["0.weight"])


def test_batch_must_be_shared_equally(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="a batch of 4 cannot be shared equally by 3 processes"):
        Training(SimpleNamespace(world_size=3), None, ToySettings(), tmp_path, CPU)


def test_missing_accelerator_is_one_sentence(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(RunError, match="cannot train on 1 x gpu"):
        run_toy(tmp_path, machine=Machine(accelerator="gpu"))


def test_checkpoint_of_another_model_is_one_sentence(unbroken: Path, tmp_path: Path) -> None:
    saved = load_checkpoint(unbroken / "last.pt")
    for spoil in ({"model": {}}, {"state": {"steps": 3}}):
        save_checkpoint(tmp_path / "last.pt", saved | spoil)
        with pytest.raises(RunError, match=r"last\.pt does not fit this model") as caught:
            run_toy(tmp_path)
        assert "\n" not in str(caught.value)


def test_checkpoint_holds_what_a_resume_needs(unbroken: Path) -> None:
    saved = torch.load(unbroken / "last.pt", weights_only=True)
    assert saved.keys() == {"model", "optimizer", "precision", "state", "memory", "settings", "version"}
    assert saved["settings"]["lr"] == 0.01
    assert saved["state"]["values"]["train"].keys() == {"loss", "cross_entropy", "size"}
    assert not list(unbroken.glob(".*"))


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


def test_numpy_generator_of_a_sample_is_its_own(tmp_path: Path) -> None:
    seen: list[float] = []

    class Watched(ToyTask):
        def sample(self, index: int, rng: np.random.Generator, step: int) -> tuple[torch.Tensor, int]:
            seen.append(float(rng.random()))
            return super().sample(index, rng, step)

        def validate(self, model: nn.Module, fabric: object) -> dict[str, float]:
            return {"accuracy": 0.0}

    run_toy(tmp_path, replace(ToySettings(), steps=6), task=Watched)
    assert len(set(seen)) == 6 * 4
