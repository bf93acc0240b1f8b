"""The kernels of binary maps on an H100 or H200: few registers, so that many threads wait for memory at once."""

import pytest

pytest.importorskip("triton")

from code_shape import code_shape
from matchloss.kernels.sigmoid_statistics_cuda import WIDTH, _read, _write

TYPES = {"valid": "*i1", "loss": "*fp32", "parts": "*fp32", "grad_loss": "*fp32", "grad_sums": "*fp32"}


@pytest.mark.parametrize(("kernel", "dtype"), [(_read, "fp32"), (_write, "bf16")])
def test_maps_stay_in_registers(kernel, dtype: str) -> None:
    types = TYPES | {"logits": f"*{dtype}", "targets": "*i1", "grad": f"*{dtype}"}
    constants = {"masked": True, "width": WIDTH}
    constants |= {name: 1 for name in kernel.arg_names if name in ("logits_pixel", "targets_pixel", "grad_pixel")}
    signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in kernel.arg_names}
    found = code_shape(kernel, signature, constants, warps=4)
    assert found.stack == 0
    assert found.registers <= 80  # then a multiprocessor holds the six programs that the launcher counts on
