"""The page of a detection run."""

import math
from pathlib import Path

import matchloss
from matchloss.recipes.box_metrics import average_precision
from matchloss.recipes.detect import SHOWN_FROM, draw
from matchloss.recipes.detect_results import Evaluation, Trained
from matchloss.recipes.log import read_history
from matchloss.recipes.progress import main_names
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

EXAMPLES = 8
MOST_CURVES = 12


def write_detect_page(run: Path, trained: Trained, evaluation: Evaluation) -> Path:
    """Write what was trained, its scores and curves, and examples from the worst to the best."""
    how_scored = "Average precision by COCO's rules; AP is the mean over overlaps from 0.5 to 0.95."
    if not all(evaluation.objects):
        how_scored += f" {evaluation.objects.count(0)} classes without objects in this split are left out."
    if evaluation.split == "val" and trained.checkpoint == "best":
        how_scored += " The checkpoint was chosen by its AP50 on these very images."
    if evaluation.constant:
        how_scored += " The last row is what the most common boxes of the training reach, the same in every image."
    each = [_image_ap50(evaluation, index) for index in range(len(evaluation.data))]
    worst_first = sorted(range(len(each)), key=lambda index: math.inf if math.isnan(each[index]) else each[index])
    chosen = [worst_first[place] for place in spread(len(worst_first), EXAMPLES)]
    rows = []
    for index in chosen:
        sample = evaluation.data[index]
        caption = f"{sample.name}: AP50 {percent(each[index])}"
        rows.append((caption, draw(sample, evaluation.found[index], trained.classes)))
    how_chosen = (
        f"{len(chosen)} of {len(worst_first)} images, from the worst to the best. Boxes with a score of at least "
        f"{SHOWN_FROM:g} are drawn; grey ones of the truth are ignored."
    )
    sections = [
        Section("The run", f"Trained with matchloss {matchloss.__version__}.", _facts(trained, evaluation)),
        Section(f"Scores on {evaluation.split}", how_scored, score_table(evaluation)),
        Section(
            "Curves", "The training loss and its terms as logged, and the scores on val.", _curves(run, evaluation)
        ),
        Section(
            "AP50 over time",
            "Of the scores on val, by the clock and by processor time.",
            over_time(read_history(run), "ap50", "AP50"),
        ),
        Section("Examples", how_chosen, Gallery(("truth", "prediction"), rows, photos=True)),
    ]
    return write_page(run, f"Detection on {evaluation.data.root.name}", sections)


def score_table(evaluation: Evaluation) -> Table:
    """Tabulate AP of each class that has objects, and the mean; AP75 is known of all classes together only."""
    scores = evaluation.scores
    each = zip(evaluation.data.classes, scores.ap_by_class, scores.ap50_by_class, evaluation.objects, strict=True)
    rows = [[name, percent(ap), percent(ap50), "", str(objects)] for name, ap, ap50, objects in each if objects]
    total = ["all", percent(scores.ap), percent(scores.ap50), percent(scores.ap75), str(sum(evaluation.objects))]
    rows.append(total)
    if constant := evaluation.constant:
        rows.append(["constant boxes", percent(constant.ap), percent(constant.ap50), percent(constant.ap75), ""])
    return Table(["class", "AP %", "AP50 %", "AP75 %", "objects"], rows)


def _facts(trained: Trained, evaluation: Evaluation) -> Facts:
    settings = trained.settings
    parameters = sum(parameter.numel() for parameter in trained.model.parameters())
    average = "none" if settings.ema is None else f"decay {settings.ema:g}"
    head = "" if trained.method.matches_sets else f", head on {settings.head}"
    return Facts(
        [
            ("Evaluated on", f"{evaluation.split}: {evaluation.data.describe()}"),
            ("Model", f"{settings.model}{head}, {parameters:,} parameters"),
            ("Checkpoint", f"{trained.checkpoint}, after {trained.step} of {settings.steps} steps"),
            ("Training time to there", f"{trained.seconds / 60:.1f} minutes"),
            ("Matched and compared by", trained.method.description),
            ("Batch", f"{settings.batch_size} images of {settings.size}, mosaic {settings.mosaic:g}"),
            ("Learning rate", f"{settings.lr:g}, cosine after {settings.warmup} steps of warm-up"),
            ("Average of the weights", average),
            ("Precision and seed", f"{settings.precision}, {settings.seed}"),
        ]
    )


def _curves(run: Path, evaluation: Evaluation) -> Curves:
    history = read_history(run)
    train = [record for record in history if "train" in record]
    scored = [record for record in history if "scores" in record]
    classes = evaluation.data.classes
    most_first = sorted(range(len(classes)), key=lambda label: -evaluation.objects[label])
    drawn = [f"ap50_{classes[label]}" for label in most_first[:MOST_CURVES]]  # more lines would be no picture
    plots = {
        "Training loss": {name: curve(train, "train", name) for name in main_names(train[0]["train"] if train else ())},
        "Validation": {name: curve(scored, "scores", name) for name in ("ap50", "ap", "ap75")},
        "AP50 of the classes": {name: curve(scored, "scores", name) for name in drawn},
    }
    if scored and "match_changes" in scored[0]["scores"]:
        title = "Share of objects matched with another query than before"
        plots[title] = {"match_changes": curve(scored, "scores", "match_changes")}
    return Curves(plots)


def _image_ap50(evaluation: Evaluation, index: int) -> float:
    """How well one image went; NaN where it has no objects."""
    return average_precision([evaluation.found[index]], [evaluation.data.truth(index)], evaluation.data.classes).ap50
