"""What a process must have in its environment, and what is said of the machine."""

import os
import sys

# On a virtual machine, fresh pages are slow, and glibc gives big blocks back at every free: without the first two the
# times are mostly page faults, and those of whoever allocates most. The third keeps the profiler quiet.
ENVIRONMENT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "20000000000", "KINETO_LOG_LEVEL": "99"}


def set_environment() -> None:
    """Start again where it is not set: glibc reads it at the start of a process only."""
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | ENVIRONMENT)


def load() -> float | None:
    """Processes that want the processor, ours included; times from a busy machine say little."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
