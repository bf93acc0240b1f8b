"""The page of a segmentation run."""

import math
from pathlib import Path

from torch import Tensor

import matchloss
from matchloss.recipes.log import read_history
from matchloss.recipes.metrics import Scores
from matchloss.recipes.report import (
    Curves,
    Facts,
    Gallery,
    Section,
    Table,
    curve,
    percent,
    spread,
    write_page,
)
from matchloss.recipes.segment import draw
from matchloss.recipes.segment_results import Evaluation, Trained

EXAMPLES = 8


def write_segment_page(run: Path, trained: Trained, evaluation: Evaluation) -> Path:
    """Write what was trained, its scores and curves, and examples from the worst to the best."""
    title = f"Segmentation of {evaluation.data.root.name}"
    worst_first = sorted(range(len(evaluation.data)), key=lambda index: _rank(evaluation.image_iou[index]))
    chosen = [worst_first[i] for i in spread(len(worst_first), EXAMPLES)]
    pictures = Gallery(
        ("image", "truth", "prediction", "errors"), [_example(trained, evaluation, index) for index in chosen]
    )
    how_scored = "Over all pixels of the split, ignored ones left out; whole images at their own size."
    if evaluation.split == "val" and trained.checkpoint == "best":
        how_scored += " The checkpoint was chosen by its score on these very images."
    if evaluation.otsu:
        how_scored += " Otsu is a threshold without learning: the smaller side is the foreground."
    how_chosen = (
        f"{len(chosen)} of {len(worst_first)} images, from the worst to the best. "
        "Among the errors, blue is missed, orange a false alarm, pink a wrong class."
    )
    sections = [
        Section("The run", f"Trained with matchloss {matchloss.__version__}.", _facts(trained, evaluation)),
        Section(f"Scores on {evaluation.split}", how_scored, score_table(evaluation.scores, evaluation.otsu)),
        Section("Curves", "The training loss and its terms as logged, and the scores on val.", _curves(run)),
        Section("Examples", how_chosen, pictures),
    ]
    return write_page(run, title, sections)


def score_table(scores: Scores, otsu: Scores | None) -> Table:
    """Tabulate IoU and Dice of each class and their means, with the threshold's beside them."""
    columns = [scores.iou, scores.dice] + ([otsu.iou, otsu.dice] if otsu else [])
    means = [scores.mean_iou, scores.mean_dice] + ([otsu.mean_iou, otsu.mean_dice] if otsu else [])
    rows = [[name, *(percent(column[i]) for column in columns)] for i, name in enumerate(scores.classes)]
    mean_name = "mean" if len(scores.foreground) == len(scores.classes) else "mean of the foreground"
    header = ["class", "IoU %", "Dice %"] + (["Otsu IoU %", "Otsu Dice %"] if otsu else [])
    return Table(header, [*rows, [mean_name, *map(percent, means)]])


def _facts(trained: Trained, evaluation: Evaluation) -> Facts:
    settings = trained.settings
    parameters = sum(parameter.numel() for parameter in trained.model.parameters())
    return Facts(
        [
            ("Evaluated on", f"{evaluation.split}: {evaluation.data.describe()}"),
            ("Model", f"{settings.model}, {parameters:,} parameters"),
            ("Checkpoint", f"{trained.checkpoint}, after {trained.step} of {settings.steps} steps"),
            ("Training time to there", f"{trained.seconds / 60:.1f} minutes"),
            ("Loss", settings.terms),
            ("Batch", f"{settings.batch_size} crops of {settings.crop} x {settings.crop}"),
            ("Learning rate", f"{settings.lr:g}, cosine after {settings.warmup} steps of warm-up"),
            ("Precision and seed", f"{settings.precision}, {settings.seed}"),
        ]
    )


def _curves(run: Path) -> Curves:
    history = read_history(run)
    train = [record for record in history if "train" in record]
    scored = [record for record in history if "scores" in record]
    return Curves(
        {
            "Training loss": {name: curve(train, "train", name) for name in (train[0]["train"] if train else ())},
            "Validation": {name: curve(scored, "scores", name) for name in ("mean_iou", "mean_dice")},
        }
    )


def _example(trained: Trained, evaluation: Evaluation, index: int) -> tuple[str, list[Tensor]]:
    sample = evaluation.data[index]
    caption = f"{sample.name}: mean IoU {percent(evaluation.image_iou[index])}"
    return caption, draw(sample, trained.predict(sample.image), trained.classes)


def _rank(iou: float) -> float:
    """An image without any foreground has no IoU; it is neither good nor bad, and comes last."""
    return math.inf if math.isnan(iou) else iou
