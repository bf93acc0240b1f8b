"""The kernels of task-aligned assignment on an H100 or H200: everything in registers, for four programs at once."""

import pytest

pytest.importorskip("triton")

from code_shape import code_shape
from matchloss.assigners import TaskAlignedAssigner
from matchloss.kernels import task_aligned_cuda as launchers
from matchloss.kernels.task_aligned_claims_cuda import select, settle
from matchloss.kernels.task_aligned_holdings_cuda import weigh, write

TYPES = {name: "*fp32" for name in ("scores", "boxes", "points", "strides", "target_boxes", "metrics", "soft")}
TYPES |= {name: "*i64" for name in ("labels", "claims", "owner", "label_of_point")}
TYPES |= {name: "*i32" for name in ("selected", "claimants", "highest")}
TYPES |= {name: "*i1" for name in ("matchable", "ignored", "ignore")} | {"eps": "fp32", "image_step": "i64"}
REGISTERS = 65536 // (4 * 4 * 32)
"""A thread, of four programs of four warps on a multiprocessor."""


def shape_of(kernel, rules: TaskAlignedAssigner, tile: int, places: int = launchers.LEAST_LIST):
    constants = {"rules": rules, "TILE": tile, "LIST": places}
    if rules.reach is None:
        constants["strides"] = None
    constants = {name: value for name, value in constants.items() if name in kernel.arg_names}
    signature = {name: "constexpr" if name in constants else TYPES.get(name, "i32") for name in kernel.arg_names}
    return code_shape(kernel, signature, constants, launchers.EXACT["num_warps"])


@pytest.mark.parametrize(
    ("rules", "places"),
    [
        (TaskAlignedAssigner.yolov8(), launchers.LEAST_LIST),
        (TaskAlignedAssigner.tood(), launchers.LEAST_LIST),
        (TaskAlignedAssigner(topk=32, reach=15.0), 32),
    ],
    ids=["yolov8", "tood", "32 places"],
)
def test_a_tile_of_points_stays_in_registers(rules: TaskAlignedAssigner, places: int) -> None:
    found = shape_of(select, rules, launchers.POINTS_A_TILE, places)
    assert found.stack == 0
    assert found.registers <= REGISTERS


def test_a_tile_of_targets_stays_in_registers() -> None:
    found = shape_of(settle, TaskAlignedAssigner.yolov8(), launchers.TARGETS_A_TILE)
    assert found.stack == 0
    assert found.registers <= REGISTERS // 2


@pytest.mark.parametrize("kernel", [weigh, write])
def test_scores_stay_in_registers(kernel) -> None:
    found = shape_of(kernel, TaskAlignedAssigner.ppyoloe(), launchers.POINTS_A_TILE)
    assert found.stack == 0
    assert found.registers <= REGISTERS
