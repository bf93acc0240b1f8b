"""Which query each object of the validation images is matched with, and how many have another one than last time."""

import math
from pathlib import Path

import torch
from torch import Tensor

from matchloss.criteria import SetCriterion
from matchloss.recipes.box_metrics import Annotated
from matchloss.recipes.detect_inference import Seen
from matchloss.recipes.log import read_history

NO_OBJECT = -2
"""In the place of a query: where an image has fewer objects than others, and where a region is ignored."""


def queries_of_objects(criterion: SetCriterion, seen: Seen, truth: Annotated, most: int) -> Tensor:
    """The query of each object of an image, int64 (most,) on the CPU."""
    count = len(truth.labels)
    row = torch.full((most,), NO_OBJECT)
    if count:
        matching = criterion.match(seen.outputs, seen.targets(truth, seen.outputs["logits"].device))
        row[:count] = torch.where(truth.ignore, NO_OBJECT, matching.query_of_target[0].cpu())
    return row


def share_changed(before: Tensor | None, after: Tensor) -> float:
    """Share of objects that have another query than before; NaN the first time, or where there is no object."""
    if before is None or before.shape != after.shape:
        return math.nan
    objects = int((after != NO_OBJECT).sum())
    return float((before != after).sum()) / objects if objects else math.nan


def describe_changes(run: Path, step: int) -> str:
    """Say how many matches had changed at the last validation of a run up to a step; empty where none is known."""
    scored = [record for record in read_history(run) if "scores" in record and record["step"] <= step]
    if len(scored) < 2 or scored[-1]["scores"].get("match_changes") is None:
        return ""
    before, after = scored[-2], scored[-1]
    share = after["scores"]["match_changes"]
    return f"{share:.0%} of the objects of val had another query after step {after['step']} than after {before['step']}"
