"""The progress of a training: a bar on a terminal, a line every few seconds elsewhere."""

import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Protocol

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from matchloss.recipes.settings import TrainSettings

SECONDS_BETWEEN_LINES = 5.0


class ProgressView(Protocol):
    """What the engine tells its user."""

    def update(self, step: int, values: Mapping[str, float]) -> None:
        """``step`` steps are done, the last one with these values."""

    def note(self, message: str) -> None:
        """Say something that stays on the screen."""

    def close(self) -> None:
        """Leave the terminal as it was."""


def show_progress(start: int, settings: TrainSettings, *, visible: bool) -> ProgressView:
    """Choose by whether somebody watches: a bar in a log file is noise; processes beside the main one are silent."""
    if not visible:
        return _Silence()
    console = Console()
    speed = Speed(start=start, steps=settings.steps, batch_size=settings.batch_size)
    return _Bar(console, speed) if console.is_terminal else _Lines(speed)


class Speed:
    """Samples a second over the last steps, and the time that is left at that rate."""

    def __init__(self, *, start: int, steps: int, batch_size: int) -> None:
        self.start, self.steps, self.batch_size = start, steps, batch_size
        self.marks: deque[tuple[int, float]] = deque([(start, time.monotonic())], maxlen=50)

    def text(self, step: int) -> str:
        """Note that ``step`` steps are done now."""
        self.marks.append((step, time.monotonic()))
        (first, before), (last, now) = self.marks[0], self.marks[-1]
        rate = (last - first) / max(now - before, 1e-9)
        left = (self.steps - step) / rate if rate else 0.0
        return f"{rate * self.batch_size:.1f} samples/s  {int(left) // 60}:{int(left) % 60:02d} left"


class _BarWithValues(Progress):
    """The bar, and the values on a line of their own: side by side they would not fit a terminal's width."""

    values = Text()

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        yield self.values


class _Bar:
    def __init__(self, console: Console, speed: Speed) -> None:
        self.speed = speed
        columns = (
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}"),
        )
        self.bar = _BarWithValues(*columns, console=console)
        self.task = self.bar.add_task("", total=speed.steps, completed=speed.start, speed="")
        self.bar.start()

    def update(self, step: int, values: Mapping[str, float]) -> None:
        self.bar.values = Text(values_text(values), style="dim", overflow="ellipsis", no_wrap=True)
        self.bar.update(self.task, completed=step, speed=self.speed.text(step))

    def note(self, message: str) -> None:
        self.bar.console.print(message, highlight=False, markup=False)

    def close(self) -> None:
        self.bar.stop()


class _Lines:
    def __init__(self, speed: Speed) -> None:
        self.speed = speed
        self.shown = float("-inf")

    def update(self, step: int, values: Mapping[str, float]) -> None:
        speed = self.speed.text(step)
        if time.monotonic() - self.shown >= SECONDS_BETWEEN_LINES or step == self.speed.steps:
            self.shown = time.monotonic()
            self.note(f"step {step}/{self.speed.steps}  {values_text(values)}  {speed}")

    def note(self, message: str) -> None:
        # Flushed, since a pipe would hold the lines back until kilobytes have come together.
        print(message, flush=True)

    def close(self) -> None:
        pass


class _Silence:
    def update(self, step: int, values: Mapping[str, float]) -> None:
        pass

    def note(self, message: str) -> None:
        pass

    def close(self) -> None:
        pass


def values_text(values: Mapping[str, float]) -> str:
    """Format scalars in a row, without those of earlier layers."""
    return "  ".join(f"{name} {values[name]:.4g}" for name in main_names(values))


def main_names(names: Iterable[str]) -> list[str]:
    """Leave out parts of what is there too: "class_aux_0" beside "class", of which there may be twenty."""
    names = list(names)
    return [name for name in names if not any(name.startswith(f"{other}_") for other in names)]
