"""Work on rows, shared by threads: the kernels let go of the interpreter, and need no pool of another library."""

import threading
from collections.abc import Callable

import torch


def share_rows(work: Callable[[slice], None], rows: int, rows_a_thread: int) -> None:
    """Call ``work`` with consecutive slices of the rows, in as many threads as torch uses.

    Fewer than ``rows_a_thread`` are done before a thread has started.
    """
    count = min(torch.get_num_threads(), 1 + rows // rows_a_thread)
    parts = [slice(rows * n // count, rows * (n + 1) // count) for n in range(count)]
    threads = [threading.Thread(target=work, args=(part,)) for part in parts[1:]]
    for thread in threads:
        thread.start()
    work(parts[0])
    for thread in threads:
        thread.join()
