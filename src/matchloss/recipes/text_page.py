"""The page of a text detection run."""

import math
from pathlib import Path

from torch import Tensor

import matchloss
from matchloss.evaluation import ICDARScores, evaluate_icdar
from matchloss.recipes.log import read_history
from matchloss.recipes.report import (
    Curves,
    Facts,
    Gallery,
    Section,
    Table,
    curve,
    over_time,
    percent,
    spread,
    write_page,
)
from matchloss.recipes.text_pictures import FOUND, TRUE, draw_score, draw_words
from matchloss.recipes.text_results import Evaluation, Trained

EXAMPLES = 8


def write_text_page(run: Path, trained: Trained, evaluation: Evaluation) -> Path:
    """Write what was trained, its scores and curves, and photos from the worst to the best."""
    how_scored = (
        "By the rules of ICDAR 2015: a word is found if it overlaps its quad by more than half; unreadable words count "
        "neither way. F is the harmonic mean of precision and recall. The lower rows leave out words of lower scores."
    )
    if evaluation.split == "val" and trained.checkpoint == "best":
        how_scored += " The checkpoint was chosen by its F on these very photos."
    each = [_image_hmean(evaluation, index) for index in range(len(evaluation.data))]
    worst_first = sorted(range(len(each)), key=lambda index: math.inf if math.isnan(each[index]) else each[index])
    chosen = [worst_first[place] for place in spread(len(worst_first), EXAMPLES)]
    how_chosen = (
        f"{len(chosen)} of {len(worst_first)} photos, from the worst to the best. Truth in orange, grey where it is "
        "unreadable; found words and the score map in green."
    )
    rows = [_example(trained, evaluation, index, each[index]) for index in chosen]
    history = read_history(run)
    sections = [
        Section("The run", f"Trained with matchloss {matchloss.__version__}.", _facts(trained, evaluation)),
        Section(f"Scores on {evaluation.split}", how_scored, score_table(evaluation)),
        Section("Curves", "The training loss and its terms as logged, and the scores on val.", _curves(run)),
        Section("F over time", "Of the scores on val.", over_time(history, "hmean", "F")),
        Section("Examples", how_chosen, Gallery(("truth", "found", "score map"), rows, photos=True)),
    ]
    return write_page(run, f"Text in {evaluation.data.root.name}", sections)


def score_table(evaluation: Evaluation) -> Table:
    """Tabulate precision, recall and F, of all words and of the surer ones."""
    rows = [_row("all words", evaluation.scores)]
    rows += [_row(f"score ≥ {threshold:g}", scores) for threshold, scores in evaluation.at_thresholds.items()]
    return Table(["words", "precision %", "recall %", "F %", "found", "right", "to find"], rows)


def _row(name: str, scores: ICDARScores) -> list[str]:
    counts = (scores.detections, scores.matched, scores.truths)
    return [name, *map(percent, (scores.precision, scores.recall, scores.hmean)), *map(str, counts)]


def _facts(trained: Trained, evaluation: Evaluation) -> Facts:
    settings = trained.settings
    parameters = sum(parameter.numel() for parameter in trained.model.parameters())
    average = "none" if not settings.ema else f"decay {settings.ema:g}"
    return Facts(
        [
            ("Evaluated on", f"{evaluation.split}: {evaluation.data.describe()}"),
            ("Model", f"{settings.model}, head {settings.head}, {parameters:,} parameters"),
            ("Checkpoint", f"{trained.checkpoint}, after {trained.step} of {settings.steps} steps"),
            ("Training time to there", f"{trained.seconds / 60:.1f} minutes"),
            ("Loss", trained.method.description),
            ("Batch", f"{settings.batch_size} crops of {settings.crop} x {settings.crop}"),
            ("Photos", f"{settings.long_side} pixels long; made-up words in {settings.synthetic:.0%} at first"),
            ("Learning rate", f"{settings.lr:g}, cosine after {settings.warmup} steps of warm-up"),
            ("Average of the weights", average),
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
            "Validation": {name: curve(scored, "scores", name) for name in ("hmean", "precision", "recall")},
        }
    )


def _example(trained: Trained, evaluation: Evaluation, index: int, hmean: float) -> tuple[str, list[Tensor]]:
    sample, found = evaluation.data[index], evaluation.found[index]
    seen = trained.look(sample.image)
    rows, columns = seen.fitted.image.shape[-2:]
    probability = seen.outputs["score"][0, 0].float().sigmoid().cpu()
    # What was filled up has no place in the photo.
    high = round(probability.shape[0] * sample.image.shape[1] * float(seen.fitted.scale[1]) / rows)
    wide = round(probability.shape[1] * sample.image.shape[2] * float(seen.fitted.scale[0]) / columns)
    pictures = [
        draw_words(sample.image, sample.quads, ignore=sample.ignore, color=TRUE),
        draw_words(sample.image, found.quads, color=FOUND),
        draw_score(sample.image, probability[:high, :wide]),
    ]
    return f"{sample.name}: F {percent(hmean)}", pictures


def _image_hmean(evaluation: Evaluation, index: int) -> float:
    """NaN where there is nothing to find and nothing was found."""
    truth = evaluation.data.truth(index)
    scores = evaluate_icdar([evaluation.found[index]], [(truth.quads, truth.ignore)])
    return scores.hmean if scores.truths + scores.detections else math.nan
