"""Tensors as the kernels for the CPU read them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


def flat(values: Tensor) -> NDArray[Any]:
    """All elements in their order, without a copy where they lie so."""
    return values.detach().contiguous().view(-1).numpy()


def flat_or_none(valid: Tensor | None) -> NDArray[np.bool_]:
    """An empty array where everything counts, and so are its parts."""
    return np.empty(0, np.bool_) if valid is None else flat(valid)
