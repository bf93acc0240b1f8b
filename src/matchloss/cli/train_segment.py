"""`matchloss train segment`."""

from pathlib import Path
from typing import Annotated

import typer

from matchloss.cli import options
from matchloss.cli.options import start_training
from matchloss.cli.scores import write_report
from matchloss.recipes.runs import main_process
from matchloss.recipes.segment import KIND, Settings, stored_settings, train
from matchloss.recipes.settings import Machine

DEFAULTS = Settings(data="")


def train_segment(
    context: typer.Context,
    data: Annotated[Path | None, typer.Option(help="images/, labels/ or masks/, train.txt, val.txt.")] = None,
    out: options.Out = None,
    resume: options.Resume = False,
    classes: Annotated[Path | None, typer.Option(help="A classes.json, if the folder has none.")] = None,
    model: Annotated[str, typer.Option(help="unet, segformer, a Hugging Face name or a folder.")] = DEFAULTS.model,
    terms: Annotated[str, typer.Option(help="Loss terms and their weights.")] = DEFAULTS.terms,
    steps: options.Steps = DEFAULTS.steps,
    batch_size: options.BatchSize = DEFAULTS.batch_size,
    crop: Annotated[int, typer.Option(min=32, help="Side of the crops: a multiple of 32 pixels.")] = DEFAULTS.crop,
    turn: Annotated[bool, typer.Option(help="Flip and turn crops; not where images have an up.")] = DEFAULTS.turn,
    lr: options.LearningRate = DEFAULTS.lr,
    warmup: options.Warmup = DEFAULTS.warmup,
    weight_decay: options.WeightDecay = DEFAULTS.weight_decay,
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
    """Train a semantic segmentation, evaluate it on val and write the run's page.

    A run that was stopped or killed goes on with `--out RUN --resume`, and ends as if it had never stopped.
    """
    machine = Machine(accelerator=accelerator, devices=devices, workers=workers, time_limit=time_limit)
    run = start_training(context, KIND, Settings, stored_settings, train, machine)
    if main_process():
        write_report(run)
