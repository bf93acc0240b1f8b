"""Connected cells of maps."""

import torch
from torch import Tensor


def connected_components(cells: Tensor) -> Tensor:
    """``(B, h, w)`` int64: which region of neighbours in a row or column, over all images, a cell is of; 0 outside.

    Example:
        >>> connected_components(torch.tensor([[[True, True, False, True]]]))
        tensor([[[1, 1, 0, 2]]])
    """
    from scipy import ndimage  # here, since it would take longer to load than all of matchloss

    within_images = ndimage.generate_binary_structure(3, 1)
    within_images[[0, 2]] = False
    return torch.from_numpy(ndimage.label(cells.numpy(), within_images)[0]).long()
