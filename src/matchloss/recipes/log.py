"""What a training writes down: history.jsonl, from which the page's curves are drawn, and the same for TensorBoard."""

import json
import math
from pathlib import Path
from typing import Any

from torch import Tensor

HISTORY = "history.jsonl"


class RunLog:
    """The log of a run; the main process has it."""

    def __init__(self, run: Path, *, last_step: int) -> None:
        """Open for appending, after cutting off what lies beyond ``last_step``, the step of the checkpoint.

        The steps after it are about to be done again, and would be there twice.
        """
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        path = run / HISTORY
        kept = [record for record in read_history(run) if record["step"] <= last_step]
        temporary = path.with_name(f".{HISTORY}.tmp")
        temporary.write_text("".join(json.dumps(record) + "\n" for record in kept))
        temporary.replace(path)
        self.file = path.open("a")
        self.board = SummaryWriter(str(run / "tensorboard"), purge_step=last_step + 1)

    def append(self, record: dict[str, Any]) -> None:
        """Write a record at once, so that a kill loses none; its numbers become TensorBoard's scalars."""
        self.file.write(json.dumps(_without_nan(record)) + "\n")
        self.file.flush()
        for name, value in record.items():
            group = value if isinstance(value, dict) else {"": value}
            for part, number in group.items():
                self.board.add_scalar(f"{name}/{part}".rstrip("/"), number, record["step"])

    def show(self, pictures: dict[str, Tensor], step: int) -> None:
        """Give TensorBoard pictures, uint8 (3, H, W)."""
        for name, picture in pictures.items():
            self.board.add_image(name, picture, step)
        self.board.flush()

    def close(self) -> None:
        """Close the files."""
        self.file.close()
        self.board.close()


def read_history(run: Path) -> list[dict[str, Any]]:
    """Read the records in the order of their steps; a line that a kill cut in half is left out."""
    path = run / HISTORY
    lines = path.read_text().splitlines() if path.is_file() else []
    return [record for record in map(_read_line, lines) if record is not None]


def _read_line(line: str) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return record


def _without_nan(value: Any) -> Any:
    """JSON has neither NaN nor infinity; null stands for both."""
    if isinstance(value, dict):
        return {name: _without_nan(part) for name, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
