"""The softmax kernels on an H100 or H200: everything in registers, and as many programs at once as counted."""

import pytest

pytest.importorskip("triton")

from code_shape import code_shape
from matchloss.kernels.softmax_statistics_cuda import TileShape, _read, _write, tile_shape

TYPES = {"labels": "*i64", "valid": "*i1", "log_prob": "*fp32", "parts": "*fp32", "grad_log_prob": "*fp32"}
LAST = "channels_last"


def shape_of(kernel, classes: int, dtype: str, layout: str):
    """Of the heaviest form, with masks and sums."""
    shape = tile_shape(classes, 1 if layout == LAST else 2)
    constants = {"classes": classes, "masked": True, "with_sums": True, "block": shape.block, "width": shape.width}
    near = "class_stride" if layout == LAST else "pixel_stride"
    constants |= {name: 1 for name in kernel.arg_names if name in (near, f"grad_{near}")}
    types = TYPES | {"grad_sums": "*fp32", "logits": f"*{dtype}", "grad": f"*{dtype}"}
    signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in kernel.arg_names}
    return code_shape(kernel, signature, constants, shape.warps)


# The bounds are what leaves room for the programs that the launcher starts at once.
@pytest.mark.parametrize(
    ("classes", "dtype", "layout", "registers"),
    [
        (2, "fp32", "", 128),
        (19, "bf16", "", 255),
        (19, "fp32", LAST, 255),
        (40, "fp32", "", 255),
        (150, "fp32", "", 255),
        (150, "bf16", LAST, 255),
    ],
)
def test_sums_stay_in_registers(classes: int, dtype: str, layout: str, registers: int) -> None:
    found = shape_of(_read, classes, dtype, layout)
    assert found.stack == 0
    assert found.registers <= registers


@pytest.mark.parametrize(("classes", "dtype", "registers"), [(2, "bf16", 128), (19, "fp32", 96), (150, "fp32", 96)])
def test_gradients_stay_in_registers(classes: int, dtype: str, registers: int) -> None:
    found = shape_of(_write, classes, dtype, "")
    assert found.stack == 0
    assert found.registers <= registers


def test_a_thread_has_all_classes_of_its_pixel() -> None:
    """Then nothing waits for another thread: all barriers stand behind the loop, at the sums."""
    assert tile_shape(19, 2) == TileShape(32, 128, 4)
    assert shape_of(_write, 19, "fp32", "").barriers == 0
