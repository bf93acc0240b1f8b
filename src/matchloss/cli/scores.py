"""What `evaluate` and `report` do, for each kind of run."""

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from matchloss.recipes.detect_settings import Settings as DetectSettings
from matchloss.recipes.errors import RunError
from matchloss.recipes.report import Table
from matchloss.recipes.runs import kind_of
from matchloss.recipes.text_settings import Settings as TextSettings

WithFormat = TypeVar("WithFormat", DetectSettings, TextSettings)
"""Settings of recipes whose annotations have several formats."""


def write_scores(
    run: Path,
    data: Path | None = None,
    split: str = "val",
    checkpoint: str = "best",
    classes: Path | None = None,
    skip_bad: bool = False,
) -> None:
    """Score a run, print a table and write its metrics.json."""
    _score(run, data, split, checkpoint, classes, skip_bad, page=False)


def write_report(
    run: Path,
    data: Path | None = None,
    split: str = "val",
    checkpoint: str = "best",
    classes: Path | None = None,
    skip_bad: bool = False,
) -> None:
    """The same, and write its page."""
    _score(run, data, split, checkpoint, classes, skip_bad, page=True)


def _score(
    run: Path, data: Path | None, split: str, checkpoint: str, classes: Path | None, skip_bad: bool, *, page: bool
) -> None:
    match kind_of(run):
        case "segment":
            _score_segmentation(run, data, split, checkpoint, classes, skip_bad, page=page)
        case "detect":
            if classes:
                raise RunError(f"--classes is for segmentations; {run} is a detection and knows its classes")
            _score_detection(run, data, split, checkpoint, skip_bad, page=page)
        case "text":
            if classes:
                raise RunError(f"--classes is for segmentations; {run} is a text detection and has none")
            _score_text(run, data, split, checkpoint, skip_bad, page=page)


def _score_segmentation(
    run: Path, data: Path | None, split: str, checkpoint: str, classes: Path | None, skip_bad: bool, *, page: bool
) -> None:
    from matchloss.recipes.segment import open_data
    from matchloss.recipes.segment_page import score_table, write_segment_page
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
    if page:
        print(f"page:  {write_segment_page(run, trained, evaluation)}")


def _score_detection(run: Path, data: Path | None, split: str, checkpoint: str, skip_bad: bool, *, page: bool) -> None:
    from matchloss.recipes.detect import open_data
    from matchloss.recipes.detect_page import score_table, write_detect_page
    from matchloss.recipes.detect_results import evaluate, load_trained, write_metrics

    trained = load_trained(run, checkpoint)
    settings = _with_data(trained.settings, data, skip_bad)
    evaluation = evaluate(trained, open_data(settings, split, trained.classes), split)
    print(f"{split}: {evaluation.data.describe()}; {checkpoint}.pt after {trained.step} steps")
    _print_table(score_table(evaluation))
    print(f"scores: {write_metrics(run, trained, evaluation)}")
    if page:
        print(f"page:  {write_detect_page(run, trained, evaluation)}")


def _score_text(run: Path, data: Path | None, split: str, checkpoint: str, skip_bad: bool, *, page: bool) -> None:
    from matchloss.recipes.text import open_data
    from matchloss.recipes.text_page import score_table, write_text_page
    from matchloss.recipes.text_results import evaluate, load_trained, write_metrics

    trained = load_trained(run, checkpoint)
    settings = _with_data(trained.settings, data, skip_bad)
    evaluation = evaluate(trained, open_data(settings, split), split)
    print(f"{split}: {evaluation.data.describe()}; {checkpoint}.pt after {trained.step} steps")
    _print_table(score_table(evaluation))
    print(f"scores: {write_metrics(run, trained, evaluation)}")
    if page:
        print(f"page:  {write_text_page(run, trained, evaluation)}")


def _with_data(own: WithFormat, data: Path | None, skip_bad: bool) -> WithFormat:
    """The run's settings with other data, which may be in another format."""
    if data:
        own = replace(own, data=str(data.resolve()), format="auto")
    return replace(own, skip_bad=skip_bad or own.skip_bad)


def _print_table(table: Table) -> None:
    from rich import box, console, table as rich_table

    grid = rich_table.Table(box=box.SIMPLE_HEAD)
    for index, name in enumerate(table.header):
        grid.add_column(name, justify="right" if index else "left")
    for row in table.rows:
        grid.add_row(*row)
    console.Console().print(grid)
