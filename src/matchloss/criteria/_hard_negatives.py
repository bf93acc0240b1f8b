"""The choice of hard negatives without a look at their number."""

import torch
from torch import Tensor


@torch.no_grad()
def hard_negatives(loss: Tensor, negative: Tensor, number: Tensor) -> Tensor:
    """The `number` largest losses among the negatives, the first of equal ones; all of them where there are fewer.

    Args:
        loss: ``(P,)``, >= 0; NaN is the hardest of all.
        negative: ``(P,)`` bool.
        number: (), which stays on the device.
    """
    order = torch.where(negative, loss, -1.0).argsort(descending=True, stable=True)
    positions = torch.arange(len(loss), device=loss.device)
    rank = torch.empty_like(positions).scatter(0, order, positions)
    return negative & (rank < number)
