"""Curves of losses and their gradients: `plot("giou_loss", "giou.svg")`; values come from the losses and autograd."""

from .figures import drawn as drawn, overview as overview, plot as plot
