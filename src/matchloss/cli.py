"""The command line: `matchloss train ...`, `evaluate`, `predict`, `report`, `list`, `plot`.

What is slow to import is imported inside the commands, so that `--help` answers soon.
"""

import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from matchloss.recipes.data import DataError
from matchloss.recipes.errors import RunError
from matchloss.recipes.report import Table
from matchloss.recipes.runs import check_unchanged, main_process
from matchloss.recipes.segment import Settings, open_data, stored_settings
from matchloss.recipes.settings import Machine

if TYPE_CHECKING:
    from matchloss.recipes.segment_results import Evaluation, Trained

app = typer.Typer(help="Match predictions to targets, compute the loss, and train on it.", add_completion=False)
training = typer.Typer(help="Train a model.")
app.add_typer(training, name="train")

DEFAULTS = Settings(data="")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


def main() -> None:
    """Run a command; what is wrong with the data or the request is one line, not a stack trace."""
    try:
        app()
    except (DataError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # a full disk, a folder that may not be written to
        print(f"error: {error.strerror}: {error.filename}" if error.filename else f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _one_of(*choices: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in choices:
            raise typer.BadParameter(f"expected one of {', '.join(choices)}, got {value}")
        return value

    return check


Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.", show_default=False)]
Checkpoint = Annotated[str, typer.Option(help="best or last.", callback=_one_of("best", "last"))]
Data = Annotated[Path | None, typer.Option(help="Folder with images; the run's own if left out.", show_default=False)]
Classes = Annotated[Path | None, typer.Option(help="A classes.json for --data.", show_default=False)]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave bad files out instead of stopping.")]
Split = Annotated[str, typer.Option(help="Which list of images: val for val.txt.")]


@training.callback()
def _train() -> None:
    """A callback keeps `segment` a subcommand although it is the only one."""


@training.command("segment")
def train_segment(
    context: typer.Context,
    data: Annotated[Path | None, typer.Option(help="images/, labels/ or masks/, train.txt, val.txt.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run.", show_default="runs/ and --data's name")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out, with its settings.")] = False,
    classes: Annotated[Path | None, typer.Option(help="A classes.json, if the folder has none.")] = None,
    model: Annotated[str, typer.Option(help="unet, segformer, a Hugging Face name or a folder.")] = DEFAULTS.model,
    terms: Annotated[str, typer.Option(help="Loss terms and their weights.")] = DEFAULTS.terms,
    steps: Annotated[int, typer.Option(min=1)] = DEFAULTS.steps,
    batch_size: Annotated[int, typer.Option(min=1, help="Of all processes together.")] = DEFAULTS.batch_size,
    crop: Annotated[int, typer.Option(min=32, help="Side of the crops: a multiple of 32 pixels.")] = DEFAULTS.crop,
    turn: Annotated[bool, typer.Option(help="Flip and turn crops; not where images have an up.")] = DEFAULTS.turn,
    lr: Annotated[float, typer.Option(min=0.0, help="Peak learning rate.")] = DEFAULTS.lr,
    warmup: Annotated[int, typer.Option(min=0, help="Steps.")] = DEFAULTS.warmup,
    weight_decay: Annotated[float, typer.Option(min=0.0)] = DEFAULTS.weight_decay,
    seed: Annotated[int, typer.Option(min=0)] = DEFAULTS.seed,
    precision: Annotated[
        str, typer.Option(help=", ".join(PRECISIONS) + ".", callback=_one_of(*PRECISIONS))
    ] = DEFAULTS.precision,
    skip_bad: SkipBad = DEFAULTS.skip_bad,
    validate_every: Annotated[int, typer.Option(min=1, help="Steps.")] = DEFAULTS.validate_every,
    save_every: Annotated[int, typer.Option(min=1, help="Steps.")] = DEFAULTS.save_every,
    accelerator: Annotated[
        str, typer.Option(help="cpu, gpu or auto.", callback=_one_of("cpu", "gpu", "auto"))
    ] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = 1,
    workers: Annotated[int | None, typer.Option(min=0, help="Reading processes.", show_default="0, on a GPU 4")] = None,
    time_limit: Annotated[float | None, typer.Option(help="Minutes, then save and stop.", show_default="none")] = None,
) -> None:
    """Train a semantic segmentation, evaluate it on val and write the run's page.

    A run that was stopped or killed goes on with `--out RUN --resume`, and ends as if it had never stopped.
    """
    from matchloss.recipes import segment

    if data is None and out is None:
        raise RunError("expected --data, the folder to train on, or --resume with --out, the run to go on with")
    run = out or Path("runs") / (data or Path()).resolve().name
    given = _given(context)
    if resume:
        check_unchanged(run, given)
        settings = stored_settings(run)
    elif data is None:
        raise RunError("expected --data, the folder to train on")
    else:
        settings = Settings(**given)
    machine = Machine(accelerator=accelerator, devices=devices, workers=workers, time_limit=time_limit)
    try:
        segment.train(settings, run, machine, resume=resume)
    except KeyboardInterrupt:
        print(f"stopped; go on with: matchloss train segment --out {run} --resume", file=sys.stderr)
        raise typer.Exit(130) from None
    if main_process():
        report(run)


@app.command()
def evaluate(
    run: Run,
    data: Data = None,
    split: Split = "val",
    checkpoint: Checkpoint = "best",
    classes: Classes = None,
    skip_bad: SkipBad = False,
) -> None:
    """Score a run on a split, print a table and write RUN/metrics.json."""
    _evaluate(run, data, split, checkpoint, classes, skip_bad)


@app.command()
def report(
    run: Run,
    data: Data = None,
    split: Split = "val",
    checkpoint: Checkpoint = "best",
    classes: Classes = None,
    skip_bad: SkipBad = False,
) -> None:
    """Score a run as `evaluate` does, and write its page, RUN/index.html."""
    from matchloss.recipes.segment_page import write_segment_page

    trained, evaluation = _evaluate(run, data, split, checkpoint, classes, skip_bad)
    print(f"page:  {write_segment_page(run, trained, evaluation)}")


@app.command()
def predict(
    run: Run,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for the pictures.", show_default=False)],
    checkpoint: Checkpoint = "best",
) -> None:
    """Write an overlay and a mask for each image; the mask is a PNG whose values are the class indices."""
    from matchloss.recipes.segment_results import load_trained, predict_file

    trained = load_trained(run, checkpoint)
    stems = [image.stem for image in images]
    if len(set(stems)) < len(stems):
        raise RunError(f"expected images with different names, got {', '.join(map(str, images))}")
    out.mkdir(parents=True, exist_ok=True)
    for image in images:
        for written in predict_file(trained, image, out):
            print(written)


@app.command("list")
def list_losses() -> None:
    """Print all losses and criteria, a line each."""
    from matchloss.catalogue import print_catalogue

    print_catalogue()


@app.command("plot")
def plot_loss(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A loss, such as sigmoid_focal_loss.", show_default=False)
    ],
    out: Annotated[Path | None, typer.Option(help="An .svg or .png file.", show_default="NAME.svg")] = None,
) -> None:
    """Draw a loss and its gradient."""
    from matchloss.plots import plot

    try:
        print(plot(name, out or f"{name}.svg"))
    except ValueError as error:
        raise RunError(str(error)) from error


def _evaluate(
    run: Path, data: Path | None, split: str, checkpoint: str, classes: Path | None, skip_bad: bool
) -> tuple["Trained", "Evaluation"]:
    from matchloss.recipes.segment_page import score_table
    from matchloss.recipes.segment_results import evaluate, load_trained, write_metrics

    trained = load_trained(run, checkpoint)
    own = trained.settings
    settings = replace(
        own,
        data=str(data.resolve()) if data else own.data,
        classes=str(classes.resolve()) if classes else own.classes,
        skip_bad=skip_bad or own.skip_bad,
    )
    evaluation = evaluate(trained, open_data(settings, split), split)
    print(f"{split}: {evaluation.data.describe()}; {checkpoint}.pt after {trained.step} steps")
    _print_table(score_table(evaluation.scores, evaluation.otsu))
    print(f"scores: {write_metrics(run, trained, evaluation)}")
    return trained, evaluation


def _print_table(table: Table) -> None:
    from rich import box, console, table as rich_table

    grid = rich_table.Table(box=box.SIMPLE_HEAD)
    for index, name in enumerate(table.header):
        grid.add_column(name, justify="right" if index else "left")
    for row in table.rows:
        grid.add_row(*row)
    console.Console().print(grid)


def _given(context: typer.Context) -> dict[str, Any]:
    """Collect the settings that were typed, in the form they are stored; a resumed run must not hear of defaults."""
    names = {field.name for field in fields(Settings)}
    values = {name: value for name, value in context.params.items() if name in names and _was_typed(context, name)}
    return {name: str(value.resolve()) if isinstance(value, Path) else value for name, value in values.items()}


def _was_typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"
