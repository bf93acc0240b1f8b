"""Losses of numbers."""

import numpy as np

from .common import elementwise


def l1_loss(predictions, targets, mask=None, weights=None):
    return elementwise(np.abs(predictions - targets), mask, weights)
