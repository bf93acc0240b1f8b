"""The kernels for a GPU: on one, or with TRITON_INTERPRET=1 on the CPU, in a process of their own.

The interpreter takes milliseconds for each program and each turn of a loop, so sizes are small here. It does not see
races, spills and the rounding of a GPU's own functions: those need `tests/test_code_shape.py` and a GPU.
"""

import pytest
import torch

from matchloss._core import INTERPRETED, TRITON

if not TRITON or not (INTERPRETED or torch.cuda.is_available()):
    collect_ignore_glob = ["test_*.py"]  # `make test` runs them by themselves


@pytest.fixture
def device() -> str:
    return "cpu" if INTERPRETED else "cuda"
