"""Smooth L1 between the corners of quads: :func:`quad_smooth_l1_loss`."""

import torch
from torch import Tensor

from .._core import (
    LossModule,
    Reduction,
    check_float,
    check_mask,
    check_positive,
    check_same_shape,
    compute_dtype,
    expand_to,
    keep_valid,
    or_one,
    reduce_loss,
    to_compute,
)
from .smooth_l1 import smooth_l1_loss

CALLER = "quad_smooth_l1_loss"


def quad_smooth_l1_loss(
    quads: Tensor,
    target_quads: Tensor,
    *,
    beta: float = 1.0,
    shortest_edge: Tensor | None = None,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Smooth L1 of the eight coordinates, for the best of the four orders of the target's corners.

        L = min over k of Σᵢ smooth_l1(qᵢ - tᵢ₊ₖ) / (8 N),   N = shortest edge of the target

    The geometry term of EAST with QUAD maps. The division makes a pixel of error weigh as much on a small word as on a
    large one relative to its height. Which corner comes first does not matter here, so a word's reading direction is
    not learnt from it. For rectangles :func:`edge_iou_loss` is the usual choice.

    Shapes:
        quads, target_quads: (..., 4, 2), the same shape, corners in the same winding; in pixels, absolute or as offsets
            from a point.
        returns: () or, with reduction "none", (...), one a quad, float32 (float64 for float64).

    Args:
        beta: distance at which the parabola meets the line, >= 0, in the unit of the coordinates.
        shortest_edge: (...) N, where it is known, as in EASTMaps; None to measure it.
        mask: (...) bool, broadcastable, False = leave out.
        weights: (...) factor per quad, broadcastable; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid quads; nothing valid gives 0.

    Raises:
        ValueError: shapes that differ (nothing is broadcast in silence), quads without four corners, a negative beta.

    Reference:
        Zhou et al. 2017, EAST, arXiv:1704.03155, section 3.4.2, "QUAD".

    Differs:
        The paper takes the least over all orders of the corners; the four with the target's winding are the ones that
        describe the same quad. PaddleOCR takes no least at all, leaves out the 1/2 of the parabola, so that the loss
        jumps at its end, and lets masked pixels count. N has a floor relative to the longest edge, so that a target
        without height has a finite loss.

    Example:
        The same square with its corners counted from another one; then all of it one pixel to the right.

        >>> square = torch.tensor([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]])
        >>> quad_smooth_l1_loss(square.roll(1, 0), square)
        tensor(0.)
        >>> quad_smooth_l1_loss(square + torch.tensor([1.0, 0.0]), square)  # 4 * 0.5 / (8 * 4)
        tensor(0.0625)
    """
    check_positive(CALLER, "beta", beta, or_zero=True)
    check_float(CALLER, "quads", quads)
    check_same_shape(CALLER, {"quads": quads, "target_quads": target_quads})
    if quads.shape[-2:] != (4, 2):
        raise ValueError(f"{CALLER}: expected quads of shape (..., 4, 2), got {tuple(quads.shape)}")
    check_mask(CALLER, mask)
    one_a_quad = quads[..., 0, 0]
    valid = None if mask is None else expand_to(CALLER, "mask", mask, one_a_quad)
    kept = None if valid is None else valid[..., None, None]
    # Widen before subtracting: in half precision two corners 600 pixels out are half a pixel apart or not at all.
    quads, target_quads = keep_valid(to_compute(quads), kept), keep_valid(target_quads.to(compute_dtype(quads)), kept)
    orders = torch.stack([target_quads.roll(-first, -2) for first in range(4)], -3)
    distance = smooth_l1_loss(quads.unsqueeze(-3).expand_as(orders), orders, beta=beta, reduction="none")
    best = distance.flatten(-2).sum(-1).min(-1).values
    scale = _shortest(target_quads, shortest_edge, valid)
    return reduce_loss(CALLER, best / (8 * scale), reduction, valid=valid, weights=weights)


def _shortest(quads: Tensor, given: Tensor | None, valid: Tensor | None) -> Tensor:
    """``(...)`` the length that a quad's error is measured by, never 0."""
    edges = (quads.roll(-1, -2) - quads).detach()
    lengths = torch.hypot(edges[..., 0], edges[..., 1])
    shortest = lengths.amin(-1)
    if given is not None:
        given = expand_to(CALLER, "shortest_edge", given, shortest)
        shortest = keep_valid(given.to(shortest.dtype), valid)
    return or_one(torch.maximum(shortest, lengths.amax(-1) * torch.finfo(lengths.dtype).eps))


class QuadSmoothL1Loss(LossModule):
    """Module form of :func:`quad_smooth_l1_loss`."""

    def __init__(self, *, beta: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.beta = beta
        self.reduction: Reduction = reduction

    def forward(
        self,
        quads: Tensor,
        target_quads: Tensor,
        *,
        shortest_edge: Tensor | None = None,
        mask: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Compute the loss."""
        return quad_smooth_l1_loss(
            quads,
            target_quads,
            beta=self.beta,
            shortest_edge=shortest_edge,
            mask=mask,
            weights=weights,
            reduction=self.reduction,
        )
