"""Large batches are matched in the memory of what is returned: no tensor over targets and points, or queries."""

import pytest
import torch

from inputs import generator
from matchloss import Targets
from matchloss._core import has_numba
from matchloss.assigners import HungarianAssigner, TaskAlignedAssigner
from matchloss.bench.memory import peak_extra_bytes
from matchloss.geometry import grid_points

pytestmark = pytest.mark.skipif(not has_numba(), reason="the plain forms take blocks of such tensors")


def all_valid(labels: torch.Tensor, boxes: torch.Tensor, **kind: object) -> Targets:
    valid = torch.ones(labels.shape, dtype=torch.bool)
    return Targets(labels, boxes, valid, ~valid, torch.ones(labels.shape), **kind)


def test_task_aligned_assignment_of_64_large_images() -> None:
    """Index, label, score and ignore are 21 bytes a point; a single byte a pair would be 615 MiB."""
    rng, strides, images, count = generator(0), (8, 16, 32), 64, 300
    points, _, _ = grid_points([(1280 // stride,) * 2 for stride in strides], strides)
    scores = torch.rand(images, len(points), 2, generator=rng)
    boxes = torch.cat([points - 20, points + 20], -1).expand(images, -1, -1).contiguous()
    centers = 1280 * torch.rand(images, count, 2, generator=rng)
    half = 5 * 24.5 ** torch.rand(images, count, 2, generator=rng)
    labels = torch.randint(0, 2, (images, count), generator=rng)
    targets = all_valid(labels, torch.cat([centers - half, centers + half], -1))
    assigner = TaskAlignedAssigner.yolov8()
    peak = peak_extra_bytes(lambda: assigner(scores, boxes, points, targets).scores.sum(), None, "cpu")
    assert len(points) == 33600
    assert peak < 24 * images * len(points)


def test_set_matching_of_seven_layers() -> None:
    """Indices both ways are 1 MiB, and as much again to invert them; a float32 a pair would be 115."""
    rng, layers, images, queries, count = generator(0), 7, 16, 900, 300
    logits = torch.randn(layers, images, queries, 20, generator=rng)
    boxes = 0.5 * torch.rand(layers, images, queries, 4, generator=rng) + 0.1
    labels = torch.randint(0, 19, (images, count), generator=rng)
    places = 0.3 * torch.rand(images, count, 4, generator=rng) + 0.2
    targets = all_valid(labels, places, box_format="cxcywh", normalized=True)
    assigner = HungarianAssigner.detr()
    peak = peak_extra_bytes(lambda: assigner(logits, boxes, targets).query_of_target.sum(), None, "cpu")
    assert peak < 3 * 8 * layers * images * (queries + count)
