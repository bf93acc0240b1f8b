"""Twins of hot loops, private: Numba for the CPU (``*_cpu.py``), Triton for a GPU (``*_cuda.py``)."""

from pathlib import Path

from ._caches import drop_stale_caches

drop_stale_caches(Path(__file__).parent)
