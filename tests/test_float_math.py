"""exp, log and log1p of the CPU kernels against float64, on dense grids and where their ranges end."""

import re

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("numba")

from numba import njit

from matchloss.kernels.float_math_cpu import exp_of_negative, log1p_of_fraction, log_of_normal

TINY, LARGEST = np.finfo(np.float32).tiny, np.finfo(np.float32).max
Floats = NDArray[np.float32]


@njit(error_model="numpy", fastmath={"contract"})
def _map_exp(x, out):
    for i in range(len(x)):
        out[i] = exp_of_negative(x[i])


@njit(error_model="numpy", fastmath={"contract"})
def _map_log1p(x, out):
    for i in range(len(x)):
        out[i] = log1p_of_fraction(x[i])


@njit(error_model="numpy", fastmath={"contract"})
def _map_log(x, out):
    for i in range(len(x)):
        out[i] = log_of_normal(x[i])


LOOPS = {np.exp: _map_exp, np.log1p: _map_log1p, np.log: _map_log}
over_functions = pytest.mark.parametrize("function", LOOPS, ids=lambda function: function.__name__)


def apply(function, *numbers) -> Floats:
    x = np.concatenate([np.atleast_1d(np.asarray(some, np.float32)) for some in numbers])
    out = np.empty_like(x)
    LOOPS[function](x, out)
    return out


def check(function, numbers: NDArray[np.float64]) -> None:
    """Within two units in the last place, those of the least normal number where the result is smaller."""
    x = numbers.astype(np.float32)
    wanted = function(x.astype(np.float64))
    unit = np.spacing(np.maximum(np.abs(wanted), TINY).astype(np.float32)).astype(np.float64)
    wrong = np.abs(apply(function, x) - wanted) > 2 * unit
    assert not wrong.any(), (x[wrong][:3], apply(function, x)[wrong][:3], wanted[wrong][:3])


def test_exp_on_a_grid() -> None:
    check(np.exp, np.linspace(-87.3, 0, 1_000_001))
    check(np.exp, -np.geomspace(1e-38, 87.3, 300_001))
    halves = np.arange(-125.5, 0.5) * np.log(2)  # where the exponent changes
    check(np.exp, np.concatenate([halves * (1 + step * 2.0**-23) for step in range(-3, 4)]))


def test_log1p_on_a_grid() -> None:
    check(np.log1p, np.linspace(0, 1, 1_000_001))
    check(np.log1p, np.geomspace(TINY, 1, 300_001))


def test_log_on_a_grid() -> None:
    check(np.log, np.geomspace(TINY, LARGEST, 1_000_001))
    check(np.log, np.linspace(0.5, 2, 1_000_001))
    roots = np.sqrt(0.5) * 2.0 ** np.arange(-125, 127)  # where the exponent changes
    check(np.log, np.concatenate([roots * (1 + step * 2.0**-23) for step in range(-3, 4)]))


def test_exact_values() -> None:
    assert apply(np.exp, [0.0, -0.0, -1e-40]).tolist() == [1, 1, 1]
    assert apply(np.log1p, [0.0]).tolist() == [0]
    assert apply(np.log, [1.0]).tolist() == [0]


def test_an_exponential_below_the_least_normal_number_is_zero() -> None:
    assert apply(np.exp, [-87.31, -88.0, -104.0, -1e4, -LARGEST, -np.inf]).tolist() == [0] * 6
    assert TINY <= apply(np.exp, [-87.3])[0] < 1.01 * np.exp(-87.3)


def test_log1p_of_a_number_that_is_not_normal() -> None:
    assert apply(np.log1p, [1e-40, 1e-45]) == pytest.approx([1e-40, 1e-45], abs=2e-45)


@over_functions
def test_nan_stays_nan(function) -> None:
    """Whatever its bits: with and without a sign, quiet or not; among other numbers, that is in the vector loop."""
    bits = np.array([0x7FC00000, 0xFFC00000, 0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0x7FC12345], np.uint32)
    nans = bits.view(np.float32)
    assert np.isnan(apply(function, nans)).all()
    many = np.full(67, 0 if function is np.exp else 1, np.float32)
    many[3::7] = np.nan
    assert np.array_equal(np.isnan(apply(function, many)), np.isnan(many))


@over_functions
def test_a_compiler_does_several_at_once(function) -> None:
    """Packed products, and no call of the C library."""
    apply(function, [0.5])
    (code,) = LOOPS[function].inspect_asm().values()
    assert re.search(r"mulps|fmul\s+v\d+\.4s", code)
    assert not re.search("expf|logf|log1pf", code)
