"""The named peers: imported if they are there, else left out with a line that says so."""

import contextlib
import functools
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch


def peer(module: str, name: str) -> Callable[..., Any] | None:
    """A function or class of another library, or None."""
    if module.startswith("torchvision") and importlib.util.find_spec("torchvision"):
        define_missing_operators()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old names that their imports touch
            found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except Exception as error:  # a broken library fails to import in any way
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        print(f"left out: {module}.{name} ({reason})", file=sys.stderr)
        return None
    return found


@functools.cache
def define_missing_operators() -> torch.library.Library:
    """Without the compiled part of torchvision its import stops at operators that no loss needs."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    with contextlib.suppress(RuntimeError):  # where they are there already
        for name in ("nms", "qnms", "roi_align", "ps_roi_align", "roi_pool", "ps_roi_pool", "deform_conv2d"):
            library.define(f"{name}(Tensor a) -> Tensor")
            library.define(f"_{name}_backward(Tensor a) -> Tensor")
    return library  # an operator goes when its library does
