"""Where the target mask of each row lies: rows of several layers share one mask, and none is copied for all rows."""

from typing import NamedTuple

from torch import Tensor

ALPHA, GAMMA, SMOOTH = 0.25, 2.0, 1.0
"""Of the focal and the Dice loss, as the code of DETR has them; its paper does not give them."""


class MaskTargets(NamedTuple):
    """The masks of a batch and, for each of R rows, which of them it is compared with."""

    masks: Tensor
    """``(T, H, W)`` bool."""
    pixels: Tensor | None
    """``(B, H, W)`` bool, False where padded."""
    target: Tensor
    """``(R,)`` index of each row's mask."""
    image: Tensor
    """``(R,)`` index of each row's image."""

    def rows(self, part: slice) -> tuple[Tensor, Tensor | None]:
        """Masks, False in the padding, and the pixels that count, of some rows."""
        if self.pixels is None:
            return self.masks[self.target[part]], None
        pixels = self.pixels[self.image[part]]
        return self.masks[self.target[part]] & pixels, pixels
