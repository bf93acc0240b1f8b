"""Distances of rotated boxes as Gaussians: covariance matrices in float64, scales, thin boxes, gradients."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from host_reads import NoHostReads
from matchloss.geometry import (
    bhattacharyya_distance,
    gaussian_kl_divergence,
    gaussian_symmetric_divergence,
    gaussian_wasserstein,
    hellinger_distance,
    kalman_iou,
)
from reference import rotated as slow
from rotated_pairs import HARD_PAIRS, box, random_rotated


def wasserstein_squared(boxes: Tensor, targets: Tensor) -> Tensor:
    parts = gaussian_wasserstein(boxes, targets)
    return (parts.center + parts.shape) * parts.unit.square()


def wasserstein_by_area(boxes: Tensor, targets: Tensor) -> Tensor:
    parts = gaussian_wasserstein(boxes, targets)
    return (parts.center + parts.shape) / parts.area


REFERENCES = {
    wasserstein_squared: slow.wasserstein_squared,
    gaussian_kl_divergence: slow.kl_divergence,
    kalman_iou: slow.kalman_iou,
    bhattacharyya_distance: slow.bhattacharyya,
}
SCALE_FREE = (
    wasserstein_by_area,
    gaussian_kl_divergence,
    gaussian_symmetric_divergence,
    kalman_iou,
    bhattacharyya_distance,
    hellinger_distance,
)
over_all = pytest.mark.parametrize("distance", SCALE_FREE, ids=lambda one: one.__name__)


@pytest.mark.parametrize("distance", REFERENCES, ids=lambda one: one.__name__)
def test_equals_covariance_matrices(distance) -> None:
    boxes, targets = random_rotated(60), random_rotated(60, 1)
    targets[:10, 2:] = boxes[:10, 2:]
    wanted = [REFERENCES[distance](a, b) for a, b in zip(boxes.numpy(), targets.numpy(), strict=True)]
    assert_close(distance(boxes, targets), torch.tensor(wanted, dtype=torch.float64), rtol=1e-9, atol=1e-9)


def test_symmetric_and_hellinger_forms() -> None:
    boxes, targets = random_rotated(20), random_rotated(20, 1)
    both = gaussian_kl_divergence(boxes, targets) + gaussian_kl_divergence(targets, boxes)
    assert_close(gaussian_symmetric_divergence(boxes, targets), both / 2)
    wanted = (1 - torch.exp(-bhattacharyya_distance(boxes, targets))).sqrt()
    assert_close(hellinger_distance(boxes, targets), wanted)


@over_all
def test_equal_boxes_are_not_apart(distance) -> None:
    boxes = random_rotated(50)
    wanted = 1 / 3 if distance is kalman_iou else 0.0
    swapped = boxes[:, [0, 1, 3, 2, 4]] + box(0, 0, 0, 0, torch.pi / 2)
    for dtype in (torch.float32, torch.float64):
        assert_close(
            distance(boxes.to(dtype), boxes.to(dtype)), torch.full((50,), wanted, dtype=dtype), rtol=0, atol=1e-7
        )
    atol = 1e-7 if distance is hellinger_distance else 1e-12
    assert_close(distance(boxes, swapped), torch.full((50,), wanted, dtype=torch.float64), rtol=0, atol=atol)


@over_all
def test_scale_does_not_matter(distance) -> None:
    boxes, targets = random_rotated(20), random_rotated(20, 1)
    value = distance(boxes, targets)
    for scale in (2.0**-60, 2.0**60):
        factors = box(scale, scale, scale, scale, 1)
        assert_close(distance(boxes * factors, targets * factors), value, rtol=1e-12, atol=1e-12)
        single = distance((boxes * factors).float(), (targets * factors).float())
        assert_close(single.double(), value, rtol=1e-4, atol=1e-5)


@over_all
@pytest.mark.parametrize("name", HARD_PAIRS)
def test_hard_pairs_are_finite(distance, name: str) -> None:
    """Also at the accuracy of float64: nothing cancels, not even for boxes a million times longer than wide."""
    first, second, _ = HARD_PAIRS[name]
    single = first.float().requires_grad_()
    value = distance(single, second.float())
    (slope,) = torch.autograd.grad(value, single)
    assert value.isfinite()
    assert slope.isfinite().all()
    exact = distance(single.detach().double(), second.float().double())
    assert_close(value.detach().double(), exact, rtol=1e-3, atol=1e-6)


@over_all
def test_degenerate_boxes_are_finite(distance) -> None:
    for sides in ((0, 0), (4, 0), (-2, 3), (1e-20, 1e20)):
        for other in (box(1, 1, *sides, 0.5), box(3, 0, 2, 2, 0), box(1e8, 0, *sides, 1)):
            leaf = box(1, 1, *sides, 0.5, dtype=torch.float32).requires_grad_()
            value = distance(leaf, other.float())
            (slope,) = torch.autograd.grad(value, leaf)
            assert value.isfinite()
            assert slope.isfinite().all()


@pytest.mark.parametrize("distance", [*REFERENCES, hellinger_distance], ids=lambda one: one.__name__)
def test_gradients(distance) -> None:
    pair = [random_rotated(6, seed).requires_grad_() for seed in (0, 1)]
    assert torch.autograd.gradcheck(distance, pair)
    assert torch.autograd.gradgradcheck(distance, pair)


@pytest.mark.parametrize("distance", REFERENCES, ids=lambda one: one.__name__)
def test_a_square_has_the_gradient_of_its_neighbours(distance) -> None:
    """Where the sides change places as the longer one, nothing jumps."""
    square, target = box(0, 0, 4, 4, 0.3).requires_grad_(), box(1, 2, 6, 3, 0.8)
    assert torch.autograd.gradcheck(distance, (square, target))


@over_all
def test_nan_half_precision_tracing_and_host_reads(distance) -> None:
    boxes, targets = random_rotated(3), random_rotated(3, 1)
    broken = boxes.clone()
    broken[1, 2] = float("nan")
    assert distance(broken, targets).isnan().tolist() == [False, True, False]
    assert distance(boxes.half(), targets.half()).dtype == torch.float32
    assert distance(boxes.unsqueeze(1), targets).shape == (3, 3)
    with NoHostReads():
        distance(boxes, targets)
    compiled = torch.compile(distance, fullgraph=True, backend="aot_eager")
    assert_close(compiled(boxes, targets), distance(boxes, targets))
    assert distance(boxes.to("meta"), targets.to("meta")).shape == (3,)
