"""The application and its short commands."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from matchloss.cli import options, scores
from matchloss.cli.bench import bench
from matchloss.cli.train_detect import train_detect
from matchloss.cli.train_segment import train_segment
from matchloss.cli.train_text import train_text
from matchloss.recipes.data import DataError
from matchloss.recipes.errors import RunError
from matchloss.recipes.runs import kind_of

app = typer.Typer(help="Match predictions to targets, compute the loss, and train on it.", add_completion=False)
training = typer.Typer(help="Train a model.")
app.add_typer(training, name="train")
training.command("segment")(train_segment)
training.command("detect")(train_detect)
training.command("text")(train_text)
app.command("bench")(bench)


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


@app.command()
def evaluate(
    run: options.Run,
    data: options.Data = None,
    split: options.Split = "val",
    checkpoint: options.Checkpoint = "best",
    classes: options.Classes = None,
    skip_bad: options.SkipBad = False,
) -> None:
    """Score a run on a split, print a table and write RUN/metrics.json."""
    scores.write_scores(run, data, split, checkpoint, classes, skip_bad)


@app.command()
def report(
    run: options.Run,
    data: options.Data = None,
    split: options.Split = "val",
    checkpoint: options.Checkpoint = "best",
    classes: options.Classes = None,
    skip_bad: options.SkipBad = False,
) -> None:
    """Score a run as `evaluate` does, and write its page, RUN/index.html."""
    scores.write_report(run, data, split, checkpoint, classes, skip_bad)


@app.command()
def predict(
    run: options.Run,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for the pictures.", show_default=False)],
    checkpoint: options.Checkpoint = "best",
    min_score: Annotated[float, typer.Option(min=0.0, max=1.0, help="Leave out less sure boxes and words.")] = 0.3,
) -> None:
    """Write what a run sees in each image, beside an overlay.

    For a segmentation, a mask, which is a PNG whose values are the class indices; for a detection, a JSON of boxes;
    for a text detection, the corners of its words in a text file, as ICDAR's submissions have them.
    """
    stems = [image.stem for image in images]
    write = _predictor(run, checkpoint, min_score)
    if len(set(stems)) < len(stems):
        raise RunError(f"expected images with different names, got {', '.join(map(str, images))}")
    out.mkdir(parents=True, exist_ok=True)
    for image in images:
        for written in write(image, out):
            print(written)


def _predictor(run: Path, checkpoint: str, min_score: float) -> Callable[[Path, Path], list[Path]]:
    """What writes the prediction of an image file into a folder."""
    if kind_of(run) == "detect":
        from matchloss.recipes import detect_results

        return partial(detect_results.predict_file, detect_results.load_trained(run, checkpoint), min_score=min_score)
    if kind_of(run) == "text":
        from matchloss.recipes import text_results

        return partial(text_results.predict_file, text_results.load_trained(run, checkpoint), min_score=min_score)
    from matchloss.recipes import segment_results

    return partial(segment_results.predict_file, segment_results.load_trained(run, checkpoint))


@app.command()
def explain(
    run: options.Run,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="One of train or val, by name.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="A .png file.", show_default="RUN/explain/IMAGE.png")] = None,
    checkpoint: options.Checkpoint = "best",
) -> None:
    """Show which predictions of a detector are trained on which object of an image, and why: a picture and tables."""
    if kind_of(run) != "detect":
        raise RunError(f"{run} is no detection; only those match predictions with objects")
    from matchloss.recipes.detect_explain import write_explanation
    from matchloss.recipes.detect_results import load_trained

    picture = out or run / "explain" / f"{Path(image).stem}.png"
    print(write_explanation(load_trained(run, checkpoint), image, picture))
    print(f"picture: {picture}")


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
