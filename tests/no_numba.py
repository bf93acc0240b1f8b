"""A pytest plugin that hides numba, as on a Python that has no wheel of it: everything must work without."""

import sys

sys.modules["numba"] = None
