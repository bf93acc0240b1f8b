"""Decoded photos that stay in memory, up to a limit."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from matchloss.recipes.data.errors import DataError
from matchloss.recipes.data.pixels import read_image


class PhotoCache:
    """Filled once and never evicted: an epoch visits each photo once, the worst case for least-recently-used."""

    def __init__(self, free_bytes: int) -> None:
        self._free_bytes = free_bytes
        self._photos: dict[Path, npt.NDArray[np.uint8]] = {}

    def read(self, path: Path, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """The pixels (H, W, 3) of a photo whose header told its (width, height); files change after that."""
        if path in self._photos:
            return self._photos[path]
        pixels = read_image(path)
        height, width = pixels.shape[:2]
        if (width, height) != size:
            raise DataError(f"{path} has {width}x{height} pixels; its header said {size[0]}x{size[1]}")
        if pixels.nbytes <= self._free_bytes:
            self._photos[path] = pixels
            self._free_bytes -= pixels.nbytes
        return pixels
