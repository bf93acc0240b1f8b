"""Other libraries: imported where they are there, else left out and named."""

import contextlib
import functools
import importlib
import io
import os
import tempfile
import warnings
from collections.abc import Callable
from typing import Any

import torch

# Ultralytics looks for updates, writes settings and installs packages by itself unless it is told not to.
QUIET = {"YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}


class Peers:
    """Finds functions and classes of other libraries, and keeps in mind what it did not find."""

    def __init__(self, *, wanted: bool) -> None:
        self.wanted = wanted
        self.left_out: dict[str, str] = {}
        """Library -> why."""

    def find(self, module: str, name: str) -> Callable[..., Any] | None:
        """A function or class of another library, or None."""
        if not self.wanted:
            return None
        try:
            return import_peer(module, name)
        except Exception as error:  # a broken library fails to import in any way
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            self.left_out.setdefault(module.partition(".")[0], reason)
            return None


@functools.cache
def import_peer(module: str, name: str) -> Callable[..., Any]:
    """Import one; what Ultralytics writes goes to a folder for temporary files."""
    for variable, value in (*QUIET.items(), ("YOLO_CONFIG_DIR", tempfile.gettempdir())):
        os.environ.setdefault(variable, value)
    before = dict(os.environ)
    load_torchvision()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # old names that their imports touch
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    os.environ.update(before)  # some set variables for all, such as how much the profiler says
    return found


@functools.cache
def load_torchvision() -> torch.library.Library | None:
    """Make torchvision importable where its compiled part does not fit torch; several libraries import it.

    Its import then stops at operators that no loss needs. They are declared, and stay as long as what is returned.
    """
    try:
        importlib.import_module("torchvision")
    except ImportError:
        return None
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for name in ("nms", "qnms", "roi_align", "ps_roi_align", "roi_pool", "ps_roi_pool", "deform_conv2d"):
            library.define(f"{name}(Tensor a) -> Tensor")  # type: ignore[no-untyped-call]
            library.define(f"_{name}_backward(Tensor a) -> Tensor")  # type: ignore[no-untyped-call]
        importlib.import_module("torchvision")
        return library
    return None
