"""Files that survive a kill at any moment: the old one or the new one is there, and each is whole."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch

from matchloss.recipes.errors import RunError

LAST = "last.pt"
BEST = "best.pt"


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write beside ``path``, wait until the disk has it, then rename over it.

    A rename within one folder replaces the file in one go. Without the fsync before it, a power cut could leave the
    new name on an empty file.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: object) -> None:
    """Write readable JSON atomically."""
    text = json.dumps(content, indent=2) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Save tensors, numbers, strings and containers of these; nothing that needs code to be read back."""
    write_atomically(path, lambda file: torch.save(state, file))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint on the CPU, with the loader that runs no code from the file."""
    if not path.is_file():
        there = [name for name in (LAST, BEST) if (path.parent / name).is_file()]
        hint = f"it has {' and '.join(there)}" if there else "the run has saved none yet"
        raise RunError(f"no checkpoint {path.name} in {path.parent}: {hint}")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the unpickler stumble in any way
        reason = (str(error).splitlines() or ["it ends too soon"])[0]
        raise RunError(f"cannot read the checkpoint {path}: {reason}") from error
    return state


def trained_weights(saved: dict[str, Any]) -> dict[str, Any]:
    """Take the weights to predict with from a checkpoint: the averaged ones, where the training kept an average."""
    weights: dict[str, Any] = saved["ema"]["model"] if "ema" in saved else saved["model"]
    return weights
