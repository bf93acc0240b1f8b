"""Doctests speak of torch without importing it on every page, and look into no kernel that Triton is missing for."""

from importlib.util import find_spec

import pytest
import torch

if find_spec("triton") is None:
    collect_ignore_glob = ["src/matchloss/kernels/*_cuda.py"]


@pytest.fixture(autouse=True)
def _torch_in_doctests(doctest_namespace: dict[str, object]) -> None:
    doctest_namespace["torch"] = torch
