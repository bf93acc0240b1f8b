"""SCYLLA IoU loss: :func:`siou_loss`."""

from torch import Tensor

from .._core import LossModule, Reduction, reduce_loss
from ..geometry.overlaps import pair_siou
from ._box_pairs import read_boxes


def siou_loss(
    boxes: Tensor,
    target_boxes: Tensor,
    *,
    theta: float = 4.0,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """One minus the IoU, plus a distance that looks at its direction, and the difference of the shapes.

        L = 1 - IoU + (Δ + Ω) / 2
        Δ = Σ 1 - exp(-γ d²),   Ω = Σ (1 - exp(-ω))^θ,   γ = 2 - sin 2a, over width and height

    d is the distance of the centres over the side of the smallest box around both, ω the difference of the sides over
    the larger, a the angle of the line of the centres. Beside :func:`ciou_loss` it saturates: far boxes pull little,
    and a target straight across or straight up pulls more than one on the diagonal. From 0 to 3.

    Shapes:
        boxes, target_boxes: (..., 4) xyxy, the same shape, any unit; an inverted box counts as empty.
        returns: () or, with reduction "none", (...), one a box, float32 (float64 for float64).

    Args:
        theta: how much small differences of shape are forgiven, >= 2; the paper searched up to 6.
        mask: (...) bool, broadcastable, False = leave out.
        weights: (...) factor per box, broadcastable; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid boxes; nothing valid gives 0.

    Raises:
        ValueError: shapes that differ (nothing is broadcast in silence), boxes without four coordinates, theta below 2.

    Reference:
        Gevorgyan 2022, arXiv:2205.12740.

    Differs:
        The sign of γ is the paper's. mmdetection's default turns it round and clips, so that boxes far apart have loss
        0 and gradient 0; its `neg_gamma=True` is the paper's form. The paper's 1 - 2 sin²(arcsin s - π/4) is written as
        the sin 2a that it is: an arcsin has an infinite gradient where the centres lie on an axis.

    Example:
        Two squares of side 2 with a gap of 2 between: IoU 0, d = 4/6 across, γ = 2, Δ = 1 - exp(-8/9).

        >>> siou_loss(torch.tensor([4.0, 0.0, 6.0, 2.0]), torch.tensor([0.0, 0.0, 2.0, 2.0]))
        tensor(1.2944)
    """
    if not theta >= 2:  # below, a derivative of equal sides is infinite
        raise ValueError(f"siou_loss: expected theta >= 2, got {theta}")
    inputs = read_boxes("siou_loss", boxes, target_boxes, mask=mask, weights=weights)
    loss = 1 - pair_siou(inputs.pair, theta=theta)
    return reduce_loss("siou_loss", loss, reduction, valid=inputs.valid, weights=inputs.weights)


class SIoULoss(LossModule):
    """Module form of :func:`siou_loss`."""

    def __init__(self, *, theta: float = 4.0, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.theta = theta
        self.reduction: Reduction = reduction

    def forward(
        self, boxes: Tensor, target_boxes: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return siou_loss(boxes, target_boxes, theta=self.theta, mask=mask, weights=weights, reduction=self.reduction)
