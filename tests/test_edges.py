"""EAST's distances and angle against rotated boxes: a round trip, the published decoders, both orders."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.testing import assert_close

from host_reads import NoHostReads
from matchloss.geometry import edges_from_rotated, reorder_edges, rotated_corners, rotated_from_edges
from reference.rotated import east_corners

lengths = st.floats(0.0, 800.0)
angles = st.floats(-math.pi / 2, math.pi / 2)
places = st.floats(-1000.0, 1000.0)


def scene(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 512
    edges = torch.rand(count, 4, generator=generator, dtype=torch.float64) * 100
    return points, edges, (torch.rand(count, generator=generator, dtype=torch.float64) - 0.5) * math.pi


@settings(max_examples=100, deadline=None)
@given(st.tuples(places, places), st.tuples(lengths, lengths, lengths, lengths), angles)
def test_both_published_branches_are_one_closed_form(point, edges, angle) -> None:
    boxes = rotated_from_edges(*(torch.tensor(value, dtype=torch.float64) for value in (point, edges, angle)))
    wanted = east_corners(np.array(point), np.array(edges), angle)
    assert_close(rotated_corners(boxes), torch.as_tensor(wanted), rtol=0, atol=1e-9)


def test_round_trip() -> None:
    points, edges, angles = scene(200)
    back, turned = edges_from_rotated(points, rotated_from_edges(points, edges, angles))
    assert_close(back, edges, rtol=0, atol=1e-12)
    assert_close(turned, angles, rtol=0, atol=0)


def test_text_that_rises_has_a_positive_angle() -> None:
    """Up on the screen is towards smaller y."""
    edges = torch.tensor([2.0, 10.0, 2.0, 10.0])
    left, right, *_ = rotated_corners(rotated_from_edges(torch.zeros(2), edges, torch.tensor(0.2)))
    assert right[1] < left[1]


def test_each_distance_moves_its_own_edge() -> None:
    edges = torch.tensor([1.0, 2.0, 4.0, 8.0])
    corners = rotated_corners(rotated_from_edges(torch.tensor([100.0, 50.0]), edges, torch.tensor(0.0)))
    assert corners.tolist() == [[92.0, 49.0], [102.0, 49.0], [102.0, 54.0], [92.0, 54.0]]


def test_a_point_outside_has_a_negative_distance() -> None:
    edges, _ = edges_from_rotated(torch.tensor([20.0, 0.0]), torch.tensor([0.0, 0.0, 8.0, 4.0, 0.0]))
    assert edges.tolist() == [2.0, -16.0, 2.0, 24.0]


def test_orders() -> None:
    edges = torch.arange(8.0).view(2, 4)
    assert reorder_edges(edges, "trbl", "tblr").tolist() == [[0, 2, 3, 1], [4, 6, 7, 5]]
    for source, target in (("trbl", "tblr"), ("tblr", "trbl"), ("trbl", "trbl")):
        assert torch.equal(reorder_edges(reorder_edges(edges, source, target), target, source), edges)
    maps = torch.arange(8.0).view(1, 4, 2)
    assert torch.equal(reorder_edges(maps, "trbl", "tblr", dim=1), maps[:, [0, 2, 3, 1]])
    with pytest.raises(ValueError, match="reorder_edges: expected target to be one of 'trbl', 'tblr', got 'tlbr'"):
        reorder_edges(edges, "trbl", "tlbr")
    with pytest.raises(ValueError, match="reorder_edges: expected four distances in dim 0"):
        reorder_edges(edges, "trbl", "tblr", dim=0)


def test_half_precision_broadcast_and_gradients() -> None:
    points, edges, angles = scene(5)
    boxes = rotated_from_edges(points.half(), edges.half(), angles.half())
    assert boxes.dtype == torch.float32
    assert rotated_from_edges(points, edges[0], angles[0]).shape == (5, 5)
    assert edges_from_rotated(points, boxes[0].double())[1].shape == (5,)
    inputs = [value.requires_grad_() for value in (points, edges, angles)]
    assert torch.autograd.gradcheck(rotated_from_edges, inputs)
    boxes = rotated_from_edges(*scene(5, seed=1)).requires_grad_()
    assert torch.autograd.gradcheck(edges_from_rotated, (points, boxes))


def test_it_traces_and_reads_nothing() -> None:
    points, edges, angles = scene(5)

    def there_and_back(points, edges, angles):
        return edges_from_rotated(points, rotated_from_edges(points, edges, angles))

    with NoHostReads():
        there_and_back(points, edges, angles)
    compiled = torch.compile(there_and_back, fullgraph=True, backend="aot_eager")
    assert_close(compiled(points, edges, angles), there_and_back(points, edges, angles))
