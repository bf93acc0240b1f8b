"""`matchloss train text`."""

from pathlib import Path
from typing import Annotated

import typer

from matchloss.cli import options
from matchloss.cli.options import choice, start_training, was_typed
from matchloss.cli.scores import write_report
from matchloss.recipes.data.words import FORMATS
from matchloss.recipes.errors import RunError
from matchloss.recipes.runs import main_process
from matchloss.recipes.settings import Machine
from matchloss.recipes.text import KIND, stored_settings, train
from matchloss.recipes.text_models import HEADS
from matchloss.recipes.text_settings import GEOMETRY_LOSSES, PRESETS, SCORE_LOSSES, Settings

DEFAULTS = Settings(data="")
MODELS = "resnet (random weights), or the Hugging Face name or folder of a backbone."


def train_text(
    context: typer.Context,
    data: Annotated[Path | None, typer.Option(help="Photos, words, and the lists of train and val.")] = None,
    out: options.Out = None,
    resume: options.Resume = False,
    format: Annotated[str, choice("How words are written", FORMATS)] = DEFAULTS.format,  # noqa: A002
    model: Annotated[str, typer.Option(help=MODELS)] = DEFAULTS.model,
    head: Annotated[str, choice("Edges and angle, corners, or binarisation", HEADS)] = DEFAULTS.head,
    preset: Annotated[str, choice("EAST's criterion as published, for the next two", PRESETS)] = DEFAULTS.preset,
    score_loss: Annotated[str, choice("Cross entropy, Dice, or their sum", SCORE_LOSSES)] = DEFAULTS.score_loss,
    geometry_loss: Annotated[str, choice("Edges and angle, or boxes", GEOMETRY_LOSSES)] = DEFAULTS.geometry_loss,
    long_side: Annotated[int, typer.Option(min=64, help="Pixels that photos are scaled to.")] = DEFAULTS.long_side,
    crop: Annotated[int, typer.Option(min=64, help="Side of the crops: a multiple of 32 pixels.")] = DEFAULTS.crop,
    synthetic: Annotated[
        float, typer.Option(min=0, max=1, help="Chance of added made-up words; falls to 0 at half of the steps.")
    ] = DEFAULTS.synthetic,
    score_threshold: Annotated[
        float, typer.Option(min=0, max=1, help="How sure a cell must be to vote for a word.")
    ] = DEFAULTS.score_threshold,
    steps: options.Steps = DEFAULTS.steps,
    batch_size: options.BatchSize = DEFAULTS.batch_size,
    lr: options.LearningRate = DEFAULTS.lr,
    warmup: options.Warmup = DEFAULTS.warmup,
    weight_decay: options.WeightDecay = DEFAULTS.weight_decay,
    ema: Annotated[
        float, typer.Option(min=0, max=0.99999, help="Decay of the average of weights; 0 for none.")
    ] = DEFAULTS.ema or 0.0,
    seed: options.Seed = DEFAULTS.seed,
    precision: options.Precision = DEFAULTS.precision,
    skip_bad: options.SkipBad = DEFAULTS.skip_bad,
    validate_every: options.Every = DEFAULTS.validate_every,
    save_every: options.Every = DEFAULTS.save_every,
    accelerator: options.Accelerator = "auto",
    devices: options.Devices = 1,
    workers: options.Workers = None,
    time_limit: options.TimeLimit = None,
) -> None:
    """Train EAST (or DB) to find words in photos, evaluate it on val and write the run's page.

    ICDAR's text files and those of MSRA-TD500 are told apart by themselves. A run that was stopped or killed goes on
    with `--out RUN --resume`, and ends as if it had never stopped.
    """
    check_together(context, head, preset)
    machine = Machine(accelerator=accelerator, devices=devices, workers=workers, time_limit=time_limit)
    run = start_training(context, KIND, Settings, stored_settings, train, machine)
    if main_process():
        write_report(run)


def check_together(context: typer.Context, head: str, preset: str) -> None:
    """Refuse options that another one leaves without effect."""
    typed = [f"--{name.replace('_', '-')}" for name in ("score_loss", "geometry_loss") if was_typed(context, name)]
    if typed and (preset != "none" or head == "db"):
        why = f"--preset {preset} is a criterion as published" if preset != "none" else "--head db has its own losses"
        raise RunError(f"{why}; leave out {', '.join(typed)}")
    if was_typed(context, "geometry_loss") and head == "quad":
        raise RunError("--head quad learns corners by smooth L1; leave out --geometry-loss")
    if was_typed(context, "score_threshold") and head == "db":
        raise RunError("--head db has the threshold of its paper; leave out --score-threshold")
