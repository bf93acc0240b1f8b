"""A run's folder and the settings it was started with."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matchloss.recipes.checkpoint import LAST, write_json
from matchloss.recipes.errors import RunError
from matchloss.recipes.log import HISTORY
from matchloss.recipes.settings import TrainSettings

SETTINGS = "settings.json"


def main_process() -> bool:
    """Whether this process speaks for the others, also before the process group exists (torchrun sets RANK)."""
    return int(os.environ.get("RANK", "0")) == 0


def read_settings(run: Path) -> dict[str, Any]:
    """Read what a run was started with."""
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


def check_unchanged(run: Path, given: Mapping[str, Any]) -> None:
    """Refuse to resume a run with settings other than its own: the weights would belong to neither."""
    stored = read_settings(run)
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


def create_run(run: Path, settings: TrainSettings) -> None:
    """Make the folder and note the settings."""
    try:
        run.mkdir(parents=True, exist_ok=True)
        write_json(run / SETTINGS, asdict(settings))
    except OSError as error:
        raise RunError(f"cannot write to {run}: {error.strerror}") from error
