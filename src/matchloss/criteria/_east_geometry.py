"""The geometry of EAST at the pixels of words: edges and angle, rotated boxes, or corners."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .._core import compute_dtype, to_compute, use_fast_path
from ..geometry.edges import DistanceOrder, reorder_edges, rotated_from_edges
from ..losses import angle_loss, edge_iou_loss, quad_smooth_l1_loss
from ..types import EASTMaps


class GeometryRows(NamedTuple):
    """Pixels beside their targets, R rows; all numbers are 0 where not positive."""

    geometry: Tensor
    """``(R, 5)`` or ``(R, 8)``."""
    targets: Tensor
    shortest_edge: Tensor
    """``(R,)``."""
    positive: Tensor
    """``(R,)`` bool; a row that is not counts for nothing."""


def take_rows(geometry: Tensor, maps: EASTMaps, positive: Tensor) -> GeometryRows:
    """The positives alone where they can be counted for nothing, else all pixels.

    On a GPU the count would stall the host, and under a compiler its shape would depend on data.
    """
    kept = positive.flatten()
    rows = kept.nonzero().squeeze(1) if kept.device.type == "cpu" and use_fast_path() else None

    def take(values: Tensor) -> Tensor:
        flat = values.movedim(1, -1).flatten(0, 2)
        return flat if rows is None else flat.index_select(0, rows)

    kept = kept if rows is None else kept.index_select(0, rows)
    dtype = compute_dtype(geometry)
    return GeometryRows(
        torch.where(kept[:, None], to_compute(take(geometry)), 0.0),
        torch.where(kept[:, None], take(maps.geometry).to(dtype), 0.0),
        torch.where(kept, take(maps.shortest_edge).squeeze(1).to(dtype), 0.0),
        kept,
    )


def edge_sum(rows: GeometryRows, distance_order: DistanceOrder, smooth: float) -> Tensor:
    """Sum of -log IoU of the edges."""
    return edge_iou_loss(
        rows.geometry[:, :4],
        rows.targets[:, :4],
        distance_order=distance_order,
        smooth=smooth,
        mask=rows.positive,
        reduction="sum",
    )


def angle_sum(rows: GeometryRows) -> Tensor:
    """Sum of 1 - cos."""
    return angle_loss(rows.geometry[:, 4], rows.targets[:, 4], mask=rows.positive, reduction="sum")


def rotated_sum(module: nn.Module, rows: GeometryRows, distance_order: DistanceOrder) -> Tensor:
    """Sum of a loss of rotated boxes, of one number a box."""
    boxes, targets = _boxes(rows.geometry, distance_order), _boxes(rows.targets, distance_order)
    loss: Tensor = module(boxes, targets, mask=rows.positive)
    return loss.sum()


def quad_sum(rows: GeometryRows) -> Tensor:
    """Sum of smooth L1 over the corners."""
    return quad_smooth_l1_loss(
        rows.geometry.reshape(-1, 4, 2),
        rows.targets.reshape(-1, 4, 2),
        shortest_edge=rows.shortest_edge,
        mask=rows.positive,
        reduction="sum",
    )


def _boxes(geometry: Tensor, distance_order: DistanceOrder) -> Tensor:
    """``(R, 5)`` rotated boxes, each seen from its pixel: where that lies is the same for prediction and target."""
    edges, angles = geometry[:, :4], geometry[:, 4]
    return rotated_from_edges(torch.zeros_like(edges[:, :2]), reorder_edges(edges, distance_order, "trbl"), angles)


@torch.no_grad()
def measure(rows: GeometryRows, distance_order: DistanceOrder) -> dict[str, Tensor]:
    """How well edges and angle fit: the mean IoU, and the mean absolute difference of the angles in radians."""
    loss = edge_iou_loss(
        rows.geometry[:, :4],
        rows.targets[:, :4],
        distance_order=distance_order,
        mode="linear",
        mask=rows.positive,
        reduction="none",
    )
    turn = torch.remainder(rows.geometry[:, 4] - rows.targets[:, 4] + torch.pi, 2 * torch.pi) - torch.pi
    number = rows.positive.sum().clamp(min=1)
    return {
        "mean_iou": torch.where(rows.positive, 1 - loss, 0.0).sum() / number,
        "angle_error": turn.abs().sum() / number,
    }
