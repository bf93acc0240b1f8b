"""A run's folder and the settings it was started with."""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

import matchloss
from matchloss.recipes.checkpoint import LAST, write_json
from matchloss.recipes.errors import RunError
from matchloss.recipes.log import HISTORY
from matchloss.recipes.settings import TrainSettings

SETTINGS = "settings.json"
CLASSES = "classes.json"
METRICS = "metrics.json"
KINDS = {"segment": "segmentation", "detect": "detection", "text": "text detection"}
"""The tasks, as `matchloss train` and the settings name them, and in words."""


def main_process() -> bool:
    """Whether this process speaks for the others, also before the process group exists (torchrun sets RANK)."""
    return int(os.environ.get("RANK", "0")) == 0


def kind_of(run: Path) -> str:
    """Tell which task a run was trained for: one of KINDS."""
    kind = _read(run).get("task", "segment")  # runs from before there were others do not say
    if kind not in KINDS:
        raise RunError(f"{run} was trained for {kind!r}, which this version of matchloss does not know")
    return str(kind)


def read_settings(run: Path, kind: str) -> dict[str, Any]:
    """Read what a run of this kind was started with."""
    settings = _read(run)
    other = kind_of(run)
    if other != kind:
        raise RunError(f"{run} is a {KINDS[other]}, not a {KINDS[kind]}: use `matchloss train {other}` for it")
    settings.pop("task", None)
    return settings


def _read(run: Path) -> dict[str, Any]:
    path = run / SETTINGS
    if not path.is_file():
        raise RunError(f"{run} is not a run: it has no {SETTINGS}")
    try:
        settings = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {path}: {error}") from error
    if not isinstance(settings, dict):
        raise RunError(f"cannot read {path}: expected an object with the settings, got {type(settings).__name__}")
    return settings


def check_unchanged(run: Path, given: Mapping[str, Any], kind: str) -> None:
    """Refuse to resume a run with settings other than its own: the weights would belong to neither."""
    stored = read_settings(run, kind)
    changed = [
        f"{name} was {stored.get(name)!r} and is now {value!r}"
        for name, value in given.items()
        if stored.get(name) != value
    ]
    if changed:
        raise RunError(f"cannot resume {run} with other settings: {'; '.join(changed)}")


def check_free(run: Path) -> None:
    """Refuse to write over a run; one that stopped before its first step is none."""
    if (run / SETTINGS).is_file() and any((run / name).is_file() for name in (LAST, HISTORY)):
        raise RunError(f"{run} holds a run already: add --resume to go on with it, or choose another --out")


def create_run(run: Path, settings: TrainSettings, kind: str) -> None:
    """Make the folder and note the settings."""
    try:
        run.mkdir(parents=True, exist_ok=True)
        write_json(run / SETTINGS, {"task": kind, **asdict(settings)})
    except OSError as error:
        raise RunError(f"cannot write to {run}: {error.strerror}") from error


def read_classes(run: Path) -> list[str]:
    """Read the names of the classes a run knows."""
    try:
        classes: list[str] = json.loads((run / CLASSES).read_text())
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {run / CLASSES}: {error}") from error
    return classes


def versions() -> dict[str, str]:
    """Tell with what a result was made."""
    return {
        "matchloss": matchloss.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
