"""The bridge from the options of :class:`SimOTAAssigner` to its CPU kernel; results equal those of the plain form.

The first call ever on a machine compiles for some seconds; the result is kept.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ._ota_choice import Choice
from ._ota_costs import background_costs
from ._scene import Scene

if TYPE_CHECKING:
    from ..kernels.simota_pairs_cpu import Numbers
    from .simota import SimOTAAssigner


def near_with_numba(rules: "SimOTAAssigner", scene: Scene) -> Tensor:
    """``(B, A)``: points in question, of points that all images share."""
    from ..kernels.simota_cpu import find_near

    assert scene.strides is not None
    return find_near(_numbers(rules), scene.points[0], scene.strides[0], scene.targets.boxes, scene.targets.matchable)


def choose_with_numba(rules: "SimOTAAssigner", scene: Scene, usable: Tensor) -> tuple[Choice, Tensor]:
    """What the targets want; of each contested point the least key over all targets, where the rule asks for it."""
    from ..kernels.simota_cpu import cheapest_targets, choose_points

    assert scene.strides is not None
    background = torch.zeros_like(usable, dtype=torch.float32)
    for costs, scores, some in zip(background, scene.scores, usable, strict=True):  # no copy of all scores at once
        costs[some] = background_costs(scores[some])
    predictions = scene.scores, background, scene.boxes, scene.points[0], scene.strides[0], usable
    targets = scene.targets.boxes, scene.targets.labels, scene.targets.matchable
    numbers, k = _numbers(rules), min(rules.candidate_topk, usable.shape[1])
    choice = Choice.read(*choose_points(numbers, predictions, targets, k))
    contested = choice.contested(usable.shape[1]) & (rules.conflict == "all")
    return choice, cheapest_targets(numbers, predictions, targets, contested)


def _numbers(rules: "SimOTAAssigner") -> "Numbers":
    from ..kernels.simota_pairs_cpu import Numbers

    return Numbers(
        radius=np.float32(rules.center_radius),
        center_only=rules.candidates == "center",
        weight=np.float32(rules.iou_weight),
        eps=np.float32(rules.eps),
    )
