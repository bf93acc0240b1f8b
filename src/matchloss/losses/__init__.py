"""The catalogue of losses, a line each under its heading.

Docs, plots, the command line and the benchmarks read these lines: a loss that stands here stands everywhere.
"""

# Classification
from .cross_entropy import CrossEntropyLoss as CrossEntropyLoss, cross_entropy_loss as cross_entropy_loss
from .sigmoid_focal import SigmoidFocalLoss as SigmoidFocalLoss, sigmoid_focal_loss as sigmoid_focal_loss

# Regression
from .l1 import L1Loss as L1Loss, l1_loss as l1_loss
