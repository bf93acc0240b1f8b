"""`matchloss train detect`."""

from pathlib import Path
from typing import Annotated

import typer

from matchloss.cli import options
from matchloss.cli.options import choice, start_training, was_typed
from matchloss.cli.scores import write_report
from matchloss.recipes.data.boxes import FORMATS
from matchloss.recipes.detect import KIND, MODEL, stored_settings, train
from matchloss.recipes.detect_criteria import ASSIGNERS, BOX_LOSSES, CLASS_LOSSES, HEADS, NMS, PRESETS
from matchloss.recipes.detect_settings import FOR_DENSE, SETTINGS, Settings
from matchloss.recipes.errors import RunError
from matchloss.recipes.runs import main_process
from matchloss.recipes.set_models import family_of
from matchloss.recipes.settings import Machine

DEFAULTS = Settings(data="")
MODELS = "resnet, yolos, detr or rtdetr (random weights), or the Hugging Face name or folder of a detector or backbone."


def train_detect(
    context: typer.Context,
    data: Annotated[Path | None, typer.Option(help="Images, boxes, and the lists of train and val.")] = None,
    out: options.Out = None,
    resume: options.Resume = False,
    format: Annotated[str, choice("How boxes are written", FORMATS)] = DEFAULTS.format,  # noqa: A002
    model: Annotated[str, typer.Option(help=MODELS)] = DEFAULTS.model,
    head: Annotated[str, choice("What predicts", HEADS)] = DEFAULTS.head,
    preset: Annotated[str, choice("Criterion as published, for the next three", ("none", *PRESETS))] = DEFAULTS.preset,
    assigner: Annotated[str, choice("Who learns which object", ASSIGNERS)] = DEFAULTS.assigner,
    class_loss: Annotated[str, choice("Loss of classes", CLASS_LOSSES)] = DEFAULTS.class_loss,
    box_loss: Annotated[str, choice("Loss of boxes", BOX_LOSSES)] = DEFAULTS.box_loss,
    nms: Annotated[str, choice("Which boxes are one object's", NMS)] = DEFAULTS.nms,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of training images; multiples of 32.")] = DEFAULTS.size,
    mosaic: Annotated[float, typer.Option(min=0, max=1, help="Chance of four images in one.")] = DEFAULTS.mosaic,
    turn: Annotated[bool, typer.Option(help="Flip and turn images; not where they have an up.")] = DEFAULTS.turn,
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
    """Train an object detector, evaluate it on val and write the run's page.

    Pascal VOC, COCO JSON and YOLO txt are told apart by themselves. Models that predict a set (yolos, detr, rtdetr)
    have steps and learning rates of their own, unless those are given. A run that was stopped or killed goes on with
    `--out RUN --resume`, and ends as if it had never stopped.
    """
    check_together(context, model, preset, out)
    machine = Machine(accelerator=accelerator, devices=devices, workers=workers, time_limit=time_limit)
    run = start_training(context, KIND, SETTINGS.get(model, Settings), stored_settings, train, machine)
    if main_process():
        write_report(run)


def check_together(context: typer.Context, model: str, preset: str, out: Path | None) -> None:
    """Refuse options that another one leaves without effect."""
    typed = [name for name in FOR_DENSE if was_typed(context, name)]
    if not typed:
        return
    if family_of(model, (out or Path()) / MODEL):
        raise RunError(
            f"--model {model} predicts a set, one query an object, and is trained by its paper's criterion; leave out "
            f"{_options(typed)}"
        )
    given = [name for name in typed if name in ("assigner", "class_loss", "box_loss")]
    if preset != "none" and given:
        raise RunError(f"--preset {preset} is a criterion as published; leave out {_options(given)}, or the preset")


def _options(names: list[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)
