"""Average precision as ICDAR's script has it."""

import numpy as np
from numpy.typing import NDArray


def average_precision(scores: NDArray[np.float64], hits: NDArray[np.bool_], truths: int) -> float:
    """Precision at each detection that is a hit, the best first, summed, over the number of truths; 0 without any.

    Example:
        The second of three is a miss: (1/1 + 2/3) / 2.

        >>> round(average_precision(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]), 2), 4)
        0.8333
    """
    ranked = hits[np.argsort(-scores, kind="stable")]
    precision = ranked.cumsum() / np.arange(1, len(ranked) + 1)
    return float(precision[ranked].sum() / truths) if truths else 0.0
