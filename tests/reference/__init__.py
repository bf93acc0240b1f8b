"""Slow float64 NumPy forms of every loss, written from the papers. Imports nothing of matchloss.

Each takes (predictions, targets, mask, weights, **options) and returns the unreduced loss and the divisor of its mean.
"""

from .classification import *  # noqa: F403
from .regression import *  # noqa: F403
from .boxes import *  # noqa: F403
from .rotated_losses import *  # noqa: F403
from .east import *  # noqa: F403
from .region import *  # noqa: F403
from .lovasz import *  # noqa: F403
from .boundary import *  # noqa: F403
