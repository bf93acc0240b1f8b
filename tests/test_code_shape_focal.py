"""The machine code of the focal family and of the IoU family: nothing spills, and enough threads fit to hide memory."""

from typing import Any

import pytest

pytest.importorskip("triton")

from code_shape import CodeShape, code_shape
from matchloss.kernels import box_measures_cuda, focal_elements_cuda, focal_rows_cuda
from matchloss.losses._focal_operators import BLOCK

TYPES = {"labels": "*i64", "valid": "*i1", "rows": "i32", "count": "i32", "grad_stride": "i32"}
TYPES |= {"of_positives": "fp32", "of_negatives": "fp32", "gamma": "fp32"}


def shape_of(kernel: Any, dtype: str, constants: dict[str, Any]) -> CodeShape:
    """With scores and a mask; what is not named is of float32, the predictions and their gradient apart."""
    types = TYPES | {"logits": f"*{dtype}", "slopes": f"*{dtype}", "boxes": f"*{dtype}"}
    constants = {name: value for name, value in constants.items() if name in kernel.arg_names}
    signature = {name: "constexpr" if name in constants else types.get(name, "*fp32") for name in kernel.arg_names}
    return code_shape(kernel, signature, constants, 4, aligned=True)


# 64 registers leave room for eight programs of 128 threads, half of the threads there are.
@pytest.mark.parametrize(
    ("kind", "power", "detach", "classes", "dtype", "registers"),
    [
        ("focal", 2, False, 80, "bf16", 40),
        ("varifocal", None, True, 80, "fp32", 64),
        ("quality", None, False, 91, "bf16", 168),  # rows that begin anywhere are loaded number by number
    ],
)
def test_rows(kind: str, power: int | None, detach: bool, classes: int, dtype: str, registers: int) -> None:
    columns = focal_rows_cuda.columns_of_tile(classes)
    tile = {"classes": classes, "columns": columns, "tile_rows": focal_rows_cuda.TILE // columns, "ignored": -100}
    for kernel in (focal_rows_cuda._forward, focal_rows_cuda._backward):
        found = shape_of(kernel, dtype, {"kind": kind, "power": power, "detach": detach, **tile})
        assert found.stack == 0
        assert found.registers <= registers


@pytest.mark.parametrize(
    ("kind", "power", "summed", "dtype"), [("focal", 2, True, "bf16"), ("quality", None, False, "fp32")]
)
def test_elements(kind: str, power: int | None, summed: bool, dtype: str) -> None:
    for kernel in (focal_elements_cuda._forward, focal_elements_cuda._backward):
        constants = {"kind": kind, "power": power, "detach": False, "summed": summed, "block": BLOCK}
        found = shape_of(kernel, dtype, constants)
        assert found.stack == 0
        assert found.registers <= 64


@pytest.mark.parametrize("measure", ["giou", "ciou"])
def test_box_measures(measure: str) -> None:
    found = shape_of(box_measures_cuda._measure, "fp32", {"measure": measure, "pairs": box_measures_cuda.PAIRS})
    assert found.stack == 0
    assert found.barriers == 0
    assert found.registers <= 80
