"""Compiled code that a change of the kernels has made stale is thrown away before any of it is loaded.

Numba keeps what it compiles beside each file, and compiles again when that file changes; but not when one changes from
which it compiled a function in. An upgrade would run old code for a while, and nobody would know.
"""

import contextlib
import hashlib
import os
from pathlib import Path

STAMP = "matchloss_kernels"


def drop_stale_caches(folder: Path) -> None:
    """Delete the index of every cache in ``folder`` unless it belongs to the kernels as they are now.

    Where one may not write Numba keeps its caches elsewhere, and nothing is done.
    """
    with contextlib.suppress(OSError):
        sources = sorted(folder.glob("*_cpu.py"))
        now = hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()
        caches = folder / "__pycache__"
        stamp = caches / STAMP
        if stamp.is_file() and stamp.read_text() == now:
            return
        for index in caches.glob("*_cpu.*.nbi"):
            index.unlink(missing_ok=True)
        caches.mkdir(exist_ok=True)
        fresh = caches / f"{STAMP}.{os.getpid()}"
        fresh.write_text(now)
        fresh.replace(stamp)  # at once: another process may be starting too
