"""Complete IoU loss: :func:`ciou_loss`."""

from torch import Tensor

from .._core import LossModule, Reduction, reduce_loss
from ._box_measures import measure_boxes


def ciou_loss(
    boxes: Tensor,
    target_boxes: Tensor,
    *,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """One minus the IoU, plus the distance of the centres and the difference of the aspect ratios.

        L = 1 - IoU + ρ² / c² + α v,   v = 4/π² (atan(w_t / h_t) - atan(w / h))²,   α = v / (1 - IoU + v)

    The box loss of YOLOv5 and v8: :func:`diou_loss` (which explains ρ and c) with a look at the shape. The shape counts
    the more, the better the overlap is. Two boxes of one aspect ratio but different size differ in the IoU alone;
    :func:`eiou_loss` compares width and height themselves.

    Shapes:
        boxes, target_boxes: (..., 4) xyxy, the same shape, any unit; an inverted box counts as empty.
        returns: () or, with reduction "none", (...), one a box, float32 (float64 for float64).

    Args:
        mask: (...) bool, broadcastable, False = leave out.
        weights: (...) factor per box, broadcastable; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid boxes; nothing valid gives 0.

    Raises:
        ValueError: shapes that differ (nothing is broadcast in silence), boxes without four coordinates.

    Reference:
        Zheng et al. 2020, arXiv:1911.08287.

    Differs:
        α is a constant for the gradient, and always on, as in torchvision and Ultralytics; mmdetection and the authors'
        later paper switch it off below an IoU of 0.5, where the loss then jumps. mmdetection also clips the loss to [0,
        2], without a gradient beyond, and is NaN for identical boxes; torchvision is NaN for a box that is a point. The
        paper swaps 1 / (w² + h²) in the gradient of v for 1; none of these does, nor does this one. A side below 1e-4
        of the enclosing box counts as so long in the aspect ratio, which is noise there.

    Example:
        A square of side 2 in the middle of a target of 4 x 2: IoU 1/2, ρ = 0, v = 0.0420, α = 0.0774.

        >>> ciou_loss(torch.tensor([1.0, 0.0, 3.0, 2.0]), torch.tensor([0.0, 0.0, 4.0, 2.0]))
        tensor(0.5032)
    """
    ciou, valid, weights = measure_boxes("ciou_loss", "ciou", boxes, target_boxes, mask=mask, weights=weights)
    return reduce_loss("ciou_loss", 1 - ciou, reduction, valid=valid, weights=weights)


class CIoULoss(LossModule):
    """Module form of :func:`ciou_loss`."""

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction: Reduction = reduction

    def forward(
        self, boxes: Tensor, target_boxes: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return ciou_loss(boxes, target_boxes, mask=mask, weights=weights, reduction=self.reduction)
