"""A pytest plugin that hides numba, as on a Python that has no wheel of it: everything must work without."""

import sys


def pytest_configure() -> None:
    """Not at import: pytest imports this file for its doctests too, and would hide numba from all tests."""
    sys.modules["numba"] = None
