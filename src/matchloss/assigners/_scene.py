"""What an assigner of predictions reads: predictions, points and targets of a batch, checked and widened."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .._core import check_float, compute_dtype
from ..geometry import target_chunks
from ..types import Targets
from ._box_kinds import is_proper, is_rotated
from ._targets import ReadTargets, check_labels, check_targets, read_targets


class Scene(NamedTuple):
    """A batch. Points and strides have a first dimension of 1 where all images share them."""

    scores: Tensor
    """``(B, A, C)`` probabilities."""
    boxes: Tensor
    """``(B, A, 4)`` xyxy in pixels, or ``(B, A, 5)`` rotated."""
    points: Tensor
    """``(1 or B, A, 2)`` pixels."""
    strides: Tensor | None
    """``(1 or B, A)`` pixels."""
    targets: ReadTargets
    """Labels are in range, and no inverted box is matchable."""

    def at(self, index: Tensor) -> "Scene":
        """Keep the points ``(B, N)`` alone."""
        images = len(index)
        corners = index.unsqueeze(-1)
        strides = None if self.strides is None else self.strides.expand(images, -1).gather(1, index)
        return self._replace(
            scores=self.scores.gather(1, corners.expand(-1, -1, self.scores.shape[-1])),
            boxes=self.boxes.gather(1, corners.expand(-1, -1, self.boxes.shape[-1])),
            points=self.points.expand(images, -1, -1).gather(1, corners.expand(-1, -1, 2)),
            strides=strides,
        )

    def chunks(self) -> Iterator[slice]:
        """Rows of targets that are looked at together."""
        images, points = self.boxes.shape[:2]
        if is_rotated(self.boxes):
            points *= 8  # corners of what two of them share
        return target_chunks(images, self.targets.labels.shape[1], points)


def read_scene(
    caller: str,
    scores: Tensor,
    boxes: Tensor,
    points: Tensor,
    targets: Targets,
    strides: Tensor | None,
    *,
    takes_rotated: bool = False,
) -> Scene:
    """Check shapes, widen half precision, and mark what can be matched: proper finite boxes of known classes."""
    rotated = takes_rotated and (is_rotated(boxes) or targets.box_format == "cxcywha")
    check_shapes(caller, scores, boxes, points, targets, strides, numbers=5 if rotated else 4)
    dtype, classes = compute_dtype(boxes), scores.shape[-1]
    read = read_targets(caller, targets, dtype, rotated=rotated)
    check_labels(caller, torch.where(read.matchable, read.labels, 0), classes)
    known = (read.labels >= 0) & (read.labels < classes)
    return Scene(
        scores=scores.detach().to(dtype),
        boxes=boxes.detach().to(dtype),
        points=points.to(dtype).unsqueeze(0),
        strides=None if strides is None else strides.to(dtype).unsqueeze(0),
        targets=read._replace(
            labels=read.labels.long().clamp(0, classes - 1), matchable=read.matchable & is_proper(read.boxes) & known
        ),
    )


def check_shapes(
    caller: str,
    scores: Tensor,
    boxes: Tensor,
    points: Tensor,
    targets: Targets,
    strides: Tensor | None,
    *,
    numbers: int,
) -> None:
    """Reject predictions, points and targets that are not of one batch; boxes have so many numbers."""
    for name, values in (("scores", scores), ("boxes", boxes), ("points", points)):
        check_float(caller, name, values)
    if scores.ndim != 3 or scores.shape[-1] == 0:
        raise ValueError(f"{caller}: expected scores of shape (B, A, C) with C >= 1, got {tuple(scores.shape)}")
    images, count = scores.shape[:2]
    wanted = {"boxes": (images, count, numbers), "points": (count, 2), "strides": (count,)}
    for name, tensor in (("boxes", boxes), ("points", points), ("strides", strides)):
        if tensor is not None and tensor.shape != wanted[name]:
            raise ValueError(f"{caller}: expected {name} of shape {wanted[name]}, got {tuple(tensor.shape)}")
    if len(targets.labels) != images:
        raise ValueError(f"{caller}: expected targets of {images} images, got {len(targets.labels)}")
    check_targets(caller, targets)
