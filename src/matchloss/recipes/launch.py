"""Start the processes of a training: one, several, or those that torchrun has started."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from lightning_fabric import Fabric
from torch.multiprocessing.spawn import ProcessRaisedException

from matchloss.recipes.data.errors import DataError
from matchloss.recipes.engine import Training
from matchloss.recipes.errors import RunError
from matchloss.recipes.settings import Machine, TrainSettings
from matchloss.recipes.task import Task

Settings = TypeVar("Settings", bound=TrainSettings)


def train(build: Callable[[Settings, Path], Task], settings: Settings, run: Path, machine: Machine) -> None:
    """Train in the folder `run`, from its last checkpoint if it has one.

    Args:
        build: makes the task, once in each process; a class or function at the top of a module, since it is pickled.
        settings: what decides the resulting weights.
        run: the folder of the run, where its settings lie already.
        machine: the processes and devices.
    """
    devices, nodes, strategy = _processes(machine)
    try:
        fabric = Fabric(
            accelerator=machine.accelerator,
            devices=devices,
            num_nodes=nodes,
            precision=settings.precision,
            strategy=strategy,
        )
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise RunError(f"cannot train on {devices} x {machine.accelerator}: {reason}") from error
    try:
        # Bound before, since Fabric does not carry frozen dataclasses among the arguments of a spawned function.
        fabric.launch(partial(_train_in_process, build=build, settings=settings, run=run, machine=machine))
    except ProcessRaisedException as error:
        raise _original(error) from error


def _processes(machine: Machine) -> tuple[int, int, str]:
    """Decide on processes a machine, machines, and the strategy.

    Processes are spawned with a function, not started by running the command again: that works from a console script,
    from `python -m` and from a test alike. Under torchrun, on one machine or several, they are there already.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        return devices, int(os.environ["WORLD_SIZE"]) // devices, "ddp"
    return machine.devices, 1, "ddp_spawn" if machine.devices > 1 else "auto"


def _train_in_process(
    fabric: Fabric, build: Callable[[Settings, Path], Task], settings: Settings, run: Path, machine: Machine
) -> None:
    torch.manual_seed(settings.seed)  # of the initial weights
    Training(fabric, build(settings, run), settings, run, machine).fit()


def _original(error: ProcessRaisedException) -> Exception:
    """A spawned process hands its error over as a printed stack trace; make ours what they were."""
    name, _, message = str(error).strip().splitlines()[-1].partition(": ")
    for kind in (DataError, RunError):
        if name == f"{kind.__module__}.{kind.__qualname__}":
            return kind(message)
    return error
