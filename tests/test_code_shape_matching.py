"""The kernels that match on a GPU: registers of each, and that none spills, whatever block they are launched with."""

import pytest

from code_shape import code_shape
from matchloss._core import INTERPRETED, TRITON

pytestmark = pytest.mark.skipif(not TRITON or INTERPRETED, reason="compiles the kernels with Triton")


@pytest.mark.parametrize(("dtype", "length"), [("fp32", 256), ("fp32", 900), ("fp64", 4096)])
def test_solver(dtype: str, length: int) -> None:
    """As many columns a thread in all, so as many registers: all that a thread of the largest block can have."""
    from matchloss.kernels.linear_assignment_cuda import _assign, _block

    block, warps = _block(length)
    types = {"cost": f"*{dtype}", "cheapest": "*i32", "lost": "*i32", "first_row": "*i32", "found": "*i64"}
    types |= {"most": "i32", "columns": "i32", "block": "constexpr"}
    shape = code_shape(_assign, types, {"block": block}, warps)
    assert shape.registers <= 128
    assert shape.stack == 0
    assert (shape.barriers == 0) == (warps == 1)


def test_cheapest_columns() -> None:
    from matchloss.kernels.linear_assignment_cuda import _block, _take_cheapest

    block, warps = _block(900)
    types = {"cost": "*fp32", "rows": "*i1", "cheapest": "*i32", "lost": "*i32", "first_row": "*i32"}
    types |= {"most": "i32", "columns": "i32", "block": "constexpr"}
    shape = code_shape(_take_cheapest, types, {"block": block}, warps)
    assert shape.registers <= 40
    assert shape.stack == 0


@pytest.mark.parametrize("is_focal", [False, True])
def test_costs(is_focal: bool) -> None:
    """Four programs a multiprocessor at least."""
    from matchloss.kernels.matching_cost_cuda import CLASSES, QUERIES, TARGETS, WARPS, _fill

    types = {"logits": "*fp32", "boxes": "*fp32", "labels": "*i64", "target_boxes": "*fp32", "usable": "*i1"}
    types |= {"total": "*fp32"} | dict.fromkeys(("images", "most", "queries", "classes"), "i32")
    types |= dict.fromkeys(("class_weight", "l1_weight", "giou_weight", "alpha", "gamma"), "fp32")
    constants = {
        "is_focal": is_focal,
        "block_queries": QUERIES,
        "block_targets": TARGETS,
        "block_classes": CLASSES,
    }
    shape = code_shape(_fill, types | dict.fromkeys(constants, "constexpr"), constants, WARPS)
    assert shape.registers <= 64
    assert shape.stack == 0
