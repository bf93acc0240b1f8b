"""Pixels out of image files, by Pillow; whatever is wrong with a file becomes a `DataError`."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from matchloss.recipes.data.errors import DataError

# Named, because Pillow would otherwise try all its plugins, and one of them (EPS) starts another program.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "PPM", "GIF")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".ppm", ".pgm", ".gif"})
WIDE_GREY = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})  # 16 or 32 bits a pixel
GREY_OR_INDEX = frozenset({"1", "L", "LA", "P"}) | WIDE_GREY
COLOR = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX"})
_ORIENTATION = 0x0112  # the EXIF tag; its values 5 to 8 swap width and height


class Header(NamedTuple):
    """What a file says of itself before its pixels are decoded."""

    mode: str  # Pillow's name: "RGB", "L", "P", "I;16", ...
    size: tuple[int, int]  # (width, height) as displayed
    lossy: bool  # whether the format may have changed the values


def read_header(path: Path) -> Header:
    """Open a file without decoding its pixels."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            # Asked for EXIF, Pillow decodes a whole PNG in search of a late chunk; only what is at hand counts here.
            at_hand = image.format != "PNG" or "exif" in image.info
            if at_hand and image.getexif().get(_ORIENTATION) in (5, 6, 7, 8):
                width, height = height, width
            pages = 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))  # MPO: a phone's photo + preview
            lossy = image.format in ("JPEG", "MPO", "WEBP") or "jpeg" in str(image.info.get("compression"))
            header = Header(image.mode, (width, height), lossy)
    except Exception as error:
        raise _bad_file(path, error) from error
    if pages > 1:
        raise DataError(f"{path} holds {pages} pages or frames; expected one picture a file")
    return header


def check_lossless(path: Path, header: Header) -> None:
    """Refuse a lossy mask: compression invents values, and some of them would be other classes."""
    if header.lossy:
        raise DataError(f"{path} is in a lossy format, which changes mask values; expected a PNG, TIFF or BMP")


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """An image as RGB (H, W, 3), upright by its EXIF tag, without alpha; wide greys are scaled to 8 bits."""
    image = _load(path)
    if image.mode in WIDE_GREY or image.mode == "F":
        grey = _to_8_bits(np.asarray(image), path)
        return np.repeat(grey[..., None], 3, axis=2)
    return _to_rgb(image, path)


def read_colors(path: Path) -> npt.NDArray[np.int64]:
    """A colour mask as one integer 0xRRGGBB a pixel, (H, W); a palette is looked up, alpha is dropped."""
    image = _load(path, lossless=True)
    if image.mode not in COLOR:
        raise DataError(f"{path} has mode {image.mode}; a mask read by colours must be RGB, palette or 8-bit grey")
    rgb = _to_rgb(image, path).astype(np.int64)
    packed: npt.NDArray[np.int64] = rgb @ np.array([1 << 16, 1 << 8, 1])
    return packed


def read_values(path: Path) -> npt.NDArray[np.int64]:
    """A grey or palette mask as its integer values, (H, W); for a palette that is the index, as VOC has it."""
    image = _load(path, lossless=True)
    # RGB of equal channels is refused too: 16-bit grey with alpha reaches us as such, with the low bytes cut off.
    if image.mode not in GREY_OR_INDEX:
        raise DataError(f"{path} has mode {image.mode}; a mask read by values must be grey or palette (or use colors)")
    if image.mode == "LA":
        image = image.getchannel("L")
    return np.asarray(image).astype(np.int64)


def _load(path: Path, *, lossless: bool = False) -> Image.Image:
    header = read_header(path)
    if lossless:
        check_lossless(path, header)
    try:
        with Image.open(path, formats=FORMATS) as image:
            return ImageOps.exif_transpose(image)  # decodes; open() has read the header only
    except Exception as error:
        raise _bad_file(path, error) from error


def _to_rgb(image: Image.Image, path: Path) -> npt.NDArray[np.uint8]:
    try:
        if image.mode in ("P", "PA"):
            image = image.convert("RGBA")  # straight to RGB, Pillow warns about palettes with transparency
        return np.array(image.convert("RGB"))
    except Exception as error:
        raise _bad_file(path, error) from error


def _to_8_bits(grey: npt.NDArray[np.generic], path: Path) -> npt.NDArray[np.uint8]:
    """Scale to 0..255 by the image's own largest value.

    By that and not by 65535: cameras store 12 bits in 16, and a fixed divisor would leave 16 grey levels of them.
    Integers that fit in 8 bits already stay as they are.
    """
    values = grey.astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError(f"{path} holds NaN or infinite pixels; expected finite values")
    low = min(0.0, float(values.min()))
    span = float(values.max()) - low
    if np.issubdtype(grey.dtype, np.integer):
        span = max(span, 255.0)
    return np.rint((values - low) * (255.0 / span if span > 0 else 0.0)).astype(np.uint8)


def _bad_file(path: Path, error: Exception) -> DataError:
    """Name what went wrong; decoders raise nearly any type of exception on a damaged file."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path} does not exist")
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return DataError(f"{path} is refused, as it may be a decompression bomb: {error}")
    if isinstance(error, UnidentifiedImageError):
        return DataError(f"{path} is not an image that can be read ({', '.join(FORMATS)})")
    return DataError(f"{path} is damaged and cannot be read in full: {error}")
