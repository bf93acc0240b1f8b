"""Work on rows, shared by threads: the kernels let go of the interpreter meanwhile.

Torch's own threads are asked first. After each of its operators they wait for the next in a loop, for some milliseconds
and on all cores: a thread started meanwhile shares a core with one that waits, and two are hardly faster than one.
"""

import ctypes
import functools
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

BODY = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
"""What each thread of a team calls: ctypes gives it the interpreter."""
PROCESS = os.getpid()
"""One that is forked from it has none of the team's threads, and would wait for them."""


def share_rows(work: Callable[[slice], None], rows: int, rows_a_thread: int) -> None:
    """Call ``work`` with consecutive slices of the rows, in as many threads as torch uses.

    Fewer than ``rows_a_thread`` are done before a thread has started.
    """
    count = min(torch.get_num_threads(), 1 + rows // rows_a_thread)
    parts = [slice(rows * n // count, rows * (n + 1) // count) for n in range(count)]
    if count == 1:
        return work(parts[0])
    waiting, errors = iter(parts), list[BaseException]()

    def body(_: int | None = None) -> None:
        """Whoever comes takes the next part, so that a team of any size, one inside another team too, does them all."""
        try:
            for part in waiting:
                work(part)
        except BaseException as error:  # it cannot leave a thread
            errors.append(error)

    if os.getpid() == PROCESS and (start_team := _torch_team()):
        # As many as torch has, however few the parts: a smaller team would end the threads that are left out.
        start_team(BODY(body), None, torch.get_num_threads(), 0)
    else:
        threads = [threading.Thread(target=body) for _ in parts[1:]]
        for thread in threads:
            thread.start()
        body()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
    return None


@functools.cache
def _torch_team() -> Any:
    """The function of GNU's OpenMP that starts a team, where torch has its threads from there; else None."""
    if not sys.platform.startswith("linux"):
        return None
    for name in (*map(str, Path(torch.__file__).parent.glob("lib/libgomp*")), "libgomp.so.1"):
        try:
            start_team = ctypes.CDLL(name, mode=os.RTLD_NOLOAD).GOMP_parallel  # not another copy, with other threads
        except OSError:
            continue
        start_team.argtypes, start_team.restype = (BODY, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint), None
        return start_team
    return None
