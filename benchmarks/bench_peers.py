"""The named peers: imported if they are there, else left out with a line that says so."""

import importlib
import sys
import warnings
from collections.abc import Callable
from typing import Any


def peer(module: str, name: str) -> Callable[..., Any] | None:
    """A function or class of another library, or None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old names that their imports touch
            found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except Exception as error:  # a broken library fails to import in any way
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        print(f"left out: {module}.{name} ({reason})", file=sys.stderr)
        return None
    return found
