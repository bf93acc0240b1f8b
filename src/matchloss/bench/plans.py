"""What is timed and what is aimed at: the operations that matter most, each with its aims; then everything else."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from ..catalogue import PACKAGES, Entry, entries
from . import assigners, criteria, losses, matching, text_maps, text_nms
from .aims import Aim, Faster, Lighter, Sooner, Within
from .families import loss_row
from .rows import Row
from .setting import Setting

Group = Literal["with aims", "losses", "assigners", "criteria", "encoders"]


@dataclass(frozen=True)
class Plan:
    """A row that is not built yet, since its tensors take memory."""

    title: str
    name: str
    """Of the catalogue."""
    make: Callable[[Setting], Row]
    aims: tuple[Aim, ...] = ()
    group: Group = "with aims"
    compiled: bool = False
    """Whether it is timed through torch.compile too, without being asked: that takes seconds."""


def _scipy(times: float) -> tuple[Aim, ...]:
    return (Faster("a loop over scipy", times),)


FIRST: tuple[Plan, ...] = (
    Plan(
        "sigmoid focal",
        "sigmoid_focal_loss",
        partial(losses.focal, shape=(8, 8400, 80)),
        (Faster("torchvision", 5.0), Lighter(1.0)),
        compiled=True,
    ),
    Plan(
        "softmax cross entropy + Dice",
        "SegmentationCriterion",
        partial(losses.cross_entropy_and_dice, shape=(4, 19, 512, 512)),
        (Faster("one-hot formula", 3.5), Faster("MONAI", 2.0), Within("plain cross entropy", 1.4)),
        compiled=True,
    ),
    Plan("six region and pixel losses", "SegmentationCriterion", partial(losses.six_losses, shape=(4, 19, 512, 512))),
    Plan(
        "Lovász-softmax",
        "lovasz_softmax_loss",
        partial(losses.lovasz, shape=(4, 19, 256, 256)),
        (Faster("kornia", 3.0),),
        compiled=True,
    ),
    Plan("GIoU", "giou_loss", partial(losses.giou, count=200_000), (Faster("torchvision", 6.0),), compiled=True),
    Plan("CIoU", "ciou_loss", partial(losses.ciou, count=200_000), (Faster("torchvision", 4.0),), compiled=True),
    *(
        Plan(
            f"task-aligned assignment, {count} targets",
            "TaskAlignedAssigner",
            partial(assigners.task_aligned, images=16, count=count),
            (Faster("Ultralytics", 15.0),),
        )
        for count in (10, 50, 150)
    ),
    *(
        Plan(
            f"set matching, {count} targets",
            "HungarianAssigner",
            partial(matching.softmax_matching, images=16, queries=300, count=count),
            (Faster("transformers", 40.0),),
        )
        for count in (20, 100)
    ),
    *(
        Plan(
            f"set matching by focal cost, {count} targets",
            "HungarianAssigner",
            partial(matching.focal_matching, images=16, queries=300, count=count),
        )
        for count in (20, 100)
    ),
    Plan("assignment alone, 20 x 300", "", partial(matching.solve, problems=112, count=20, queries=300), _scipy(5.0)),
    Plan("assignment alone, 100 x 900", "", partial(matching.solve, problems=112, count=100, queries=900), _scipy(3.0)),
    Plan(
        "DETR's criterion",
        "SetCriterion",
        partial(matching.detr_criterion, layers=6, images=16, queries=300, count=20),
    ),
    Plan("YOLOv8's criterion", "TaskAlignedCriterion", partial(criteria.yolov8_criterion, images=16, count=20)),
    *(
        Plan(
            f"EAST's target maps, {count} words",
            "EASTTargetEncoder",
            partial(text_maps.east_maps, count=count, heights=heights),
            (Faster("a loop over pixels", 50.0), Sooner(2.0)),
        )
        for count, heights in ((5, (60, 110)), (20, (25, 50)), (60, (10, 18)))
    ),
    Plan("EAST's decoding", "", partial(text_nms.decoding, count=40)),
    *(
        Plan(
            f"locality-aware NMS, {words} words",
            "",
            partial(text_nms.merging, count=words),
            (Faster("Python with Shapely", 30.0), Faster("C++ of the authors", 1.0)),
        )
        for words in (10, 40, 120)
    ),
)
"""The table of aims."""

OTHERS: tuple[Plan, ...] = (
    Plan("SimOTA", "SimOTAAssigner", partial(assigners.sim_ota, images=8, count=20), group="assigners"),
    Plan("max-IoU assignment", "MaxIoUAssigner", partial(assigners.max_iou, images=4, count=20), group="assigners"),
    Plan("ATSS", "ATSSAssigner", partial(assigners.atss, images=8, count=20), group="assigners"),
    Plan(
        "RetinaNet's criterion",
        "RetinaNetCriterion",
        partial(criteria.retinanet_criterion, images=4, count=20),
        group="criteria",
    ),
    Plan("EAST's criterion", "EASTCriterion", partial(criteria.east_criterion, images=8, count=20), group="criteria"),
    Plan("DB's criterion", "DBCriterion", partial(criteria.db_criterion, images=4, count=20), group="criteria"),
    Plan(
        "DB's target maps",
        "DBTargetEncoder",
        partial(text_maps.db_maps, count=20, heights=(25, 50)),
        group="encoders",
    ),
)


def all_plans() -> list[Plan]:
    """Those with aims, every other loss of the catalogue, and the other assigners, criteria and encoders."""
    known = {plan.name for plan in FIRST}
    others = [loss_plan(entry) for entry in entries(PACKAGES["losses"]) if entry.module and entry.name not in known]
    return [*FIRST, *others, *OTHERS]


def loss_plan(entry: Entry) -> Plan:
    """A catalogued loss at the size of its family."""
    return Plan(entry.name, entry.name, partial(loss_row, entry.value), group="losses")


def missing() -> list[str]:
    """Public losses, assigners, criteria and encoders that no row times; functions that are no losses need none."""
    known = {plan.name for plan in all_plans()}
    everything: Iterator[Entry] = (entry for package in PACKAGES.values() for entry in entries(package))
    return [entry.name for entry in everything if entry.module and entry.name not in known]


def named(plans: Sequence[Plan], part: str) -> list[Plan]:
    """Those with a part of a title or of a name in theirs, whatever the case."""
    wanted = part.casefold()
    return [plan for plan in plans if wanted in plan.title.casefold() or wanted in plan.name.casefold()]
