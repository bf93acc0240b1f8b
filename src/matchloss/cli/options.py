"""Options that several commands share, and what turns them into settings."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

import typer

from matchloss.recipes.errors import RunError
from matchloss.recipes.runs import check_unchanged
from matchloss.recipes.settings import Machine, TrainSettings

Settings = TypeVar("Settings", bound=TrainSettings)


def one_of(*choices: str) -> Callable[[str], str]:
    """Make the check of an option with few values."""

    def check(value: str) -> str:
        if value not in choices:
            raise typer.BadParameter(f"expected one of {', '.join(choices)}, got {value}")
        return value

    return check


def choice(text: str, choices: Iterable[str]) -> typer.models.OptionInfo:
    """Make an option with few values, all named in its help."""
    info: typer.models.OptionInfo = typer.Option(help=f"{text}: {', '.join(choices)}.", callback=one_of(*choices))
    return info


PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
FORMATS = ("auto", "voc", "coco", "yolo")

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.", show_default=False)]
Checkpoint = Annotated[str, typer.Option(help="best or last.", callback=one_of("best", "last"))]
Data = Annotated[Path | None, typer.Option(help="Folder with images; the run's own if left out.", show_default=False)]
Classes = Annotated[Path | None, typer.Option(help="A classes.json for --data (segmentations).", show_default=False)]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave bad files out instead of stopping.")]
Split = Annotated[str, typer.Option(help="Which list of images: val for val.txt.")]

Out = Annotated[Path | None, typer.Option(help="Folder of the run.", show_default="runs/ and --data's name")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out, with its settings.")]
Steps = Annotated[int, typer.Option(min=1)]
BatchSize = Annotated[int, typer.Option(min=1, help="Of all processes together.")]
LearningRate = Annotated[float, typer.Option(min=0.0, help="Peak learning rate.")]
Warmup = Annotated[int, typer.Option(min=0, help="Steps.")]
WeightDecay = Annotated[float, typer.Option(min=0.0)]
Seed = Annotated[int, typer.Option(min=0)]
Precision = Annotated[str, typer.Option(help=", ".join(PRECISIONS) + ".", callback=one_of(*PRECISIONS))]
Every = Annotated[int, typer.Option(min=1, help="Steps.")]
Accelerator = Annotated[str, typer.Option(help="cpu, gpu or auto.", callback=one_of("cpu", "gpu", "auto"))]
Devices = Annotated[int, typer.Option(min=1, help="Processes on this machine.")]
Workers = Annotated[int | None, typer.Option(min=0, help="Reading processes.", show_default="0, on a GPU 4")]
TimeLimit = Annotated[float | None, typer.Option(help="Minutes, then save and stop.", show_default="none")]


class Train(Protocol[Settings]):  # type: ignore[misc]  # the settings are only taken
    """What a recipe's `train` takes."""

    def __call__(self, settings: Settings, run: Path, machine: Machine, *, resume: bool) -> None:
        """Train in a folder."""


def start_training(
    context: typer.Context,
    kind: str,
    make_settings: type[Settings],
    stored_settings: Callable[[Path], Settings],
    train: Train[Settings],
    machine: Machine,
) -> Path:
    """Begin or resume a training as the options say, and name its folder."""
    data, out, resume = (context.params[name] for name in ("data", "out", "resume"))
    if data is None and out is None:
        raise RunError("expected --data, the folder to train on, or --resume with --out, the run to go on with")
    run: Path = out or Path("runs") / (data or Path()).resolve().name
    given = _given(context, make_settings)
    if resume:
        check_unchanged(run, given, kind)
        settings = stored_settings(run)
    elif data is None:
        raise RunError("expected --data, the folder to train on")
    else:
        settings = make_settings(**given)
    try:
        train(settings, run, machine, resume=resume)
    except KeyboardInterrupt:
        print(f"stopped; go on with: matchloss train {kind} --out {run} --resume", file=sys.stderr)
        raise typer.Exit(130) from None
    return run


def _given(context: typer.Context, settings: type[TrainSettings]) -> dict[str, Any]:
    """Collect the settings that were typed, in the form they are stored; a resumed run must not hear of defaults."""
    names = {field.name for field in fields(settings)}
    values = {name: value for name, value in context.params.items() if name in names and was_typed(context, name)}
    return {name: str(value.resolve()) if isinstance(value, Path) else value for name, value in values.items()}


def was_typed(context: typer.Context, name: str) -> bool:
    """Whether an option stood on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"
