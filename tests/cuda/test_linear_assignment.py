"""Linear assignment by the kernel for a GPU: equal, index by index, to that for the CPU, whatever the costs are."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import matchloss
from assignment_problems import KINDS, all_rows, problems
from inputs import generator
from matchloss._core import has_numba
from matchloss.assigners import _linear_assignment
from matchloss.assigners._linear_assignment import ROOM, linear_assignment

pytestmark = pytest.mark.skipif(not has_numba(), reason="the kernel for the CPU tells what is right")
SHAPES = ((1, 1), (3, 3), (4, 40), (7, 20), (10, 10), (9, 5))


def on_cpu(cost: Tensor, rows: Tensor) -> Tensor:
    from matchloss.kernels.linear_assignment_cpu import assign_problems

    return assign_problems(cost * ROOM if cost.dtype == torch.float64 else cost, rows)


def assert_equal(cost: Tensor, rows: Tensor, device: str) -> Tensor:
    found = linear_assignment(cost.to(device), rows.to(device))
    assert found.device.type == torch.device(device).type
    assert found.dtype == torch.int64
    assert torch.equal(found.cpu(), on_cpu(cost, rows))
    return found.cpu()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_cpu(kind: str, shape: tuple[int, int], device: str) -> None:
    cost = problems(kind, 3, *shape, shape[0])
    some = torch.rand(3, shape[0], generator=generator(shape[1])) < 0.9
    assert_equal(cost, some, device)
    assert_equal(cost[:1].double() / 3, some[:1], device)


@pytest.mark.parametrize("kind", ["ties", "boxes"])
def test_long_paths_equal_the_cpu(kind: str, device: str) -> None:
    """Nearly as many rows as columns, and the other way round."""
    cost = problems(kind, 1, 20, 23, 1)
    assert_equal(cost, all_rows(cost), device)
    assert_equal(cost.mT.contiguous(), torch.ones(1, 23, dtype=torch.bool), device)


def single(cost: Tensor) -> Tensor:
    return torch.where(torch.rand(cost.shape, generator=generator(1)) < 0.3, torch.nan, cost)


def row_and_column(cost: Tensor) -> Tensor:
    cost = cost.clone()
    cost[:, 2], cost[..., 4] = torch.inf, -torch.inf
    return cost


def few_columns(cost: Tensor) -> Tensor:
    cost = cost.clone()
    cost[..., 4:] = torch.nan
    return cost


def huge(cost: Tensor) -> Tensor:
    cost = cost.clone()
    cost[:, 1], cost[:, 3], cost[..., 5] = 1e30, -3e38, 3e38
    return cost


def nothing_finite(cost: Tensor) -> Tensor:
    return cost * torch.nan


def signed_zeros(cost: Tensor) -> Tensor:
    return torch.where(torch.rand(cost.shape, generator=generator(2)) < 0.5, -0.0, 0.0)


@pytest.mark.parametrize("change", [single, row_and_column, few_columns, huge, nothing_finite, signed_zeros])
def test_odd_costs_equal_the_cpu(change: Callable[[Tensor], Tensor], device: str) -> None:
    for kind, (rows, columns) in (("boxes", (8, 14)), ("ties", (8, 8)), ("random", (10, 6))):
        cost = change(problems(kind, 3, rows, columns, 3))
        some = torch.rand(3, rows, generator=generator(4)) < 0.8
        found = assert_equal(cost, some, device)
        assert (found[~some] == -1).all()
        assert_equal(cost[:1].double(), some[:1], device)


def test_a_finite_pair_more_is_worth_any_cost(device: str) -> None:
    cost = torch.tensor([[[0.0, 100.0], [5.0, torch.nan]]])
    assert assert_equal(cost, all_rows(cost), device).tolist() == [[1, 0]]


def test_more_columns_than_a_warp_has_threads(device: str) -> None:
    """Several columns a thread, and on a GPU several warps."""
    cost = problems("boxes", 2, 12, 600, 5)
    assert_equal(cost, all_rows(cost), device)
    cost[1, 3, 7] = torch.nan
    assert_equal(cost, all_rows(cost), device)


def test_largest_floats(device: str) -> None:
    signs = torch.tensor([[[1.0, -1.0, 0.0], [-1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]])
    for dtype in (torch.float32, torch.float64):
        cost = torch.finfo(dtype).max * signs.to(dtype)
        assert assert_equal(cost, all_rows(cost), device).tolist() == [[1, 0, 2]]
        cost[0, 0, 0] = torch.nan
        assert assert_equal(cost, all_rows(cost), device).tolist() == [[1, 0, 2]]


def test_strides_and_what_rows_left_out_hold(device: str) -> None:
    cost = problems("random", 3, 7, 11, 6)
    rows = torch.rand(3, 7, generator=generator(6)) < 0.6
    found = assert_equal(cost, rows, device)
    turned = cost.to(device).mT.contiguous().mT
    assert torch.equal(linear_assignment(turned, rows.to(device).T.contiguous().T).cpu(), found)
    for value in (-1e9, torch.nan):
        assert torch.equal(assert_equal(torch.where(rows[..., None], cost, value), rows, device), found)


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (2, 3, 0)])
def test_nothing_to_assign(shape: tuple[int, int, int], device: str) -> None:
    found = linear_assignment(torch.zeros(shape, device=device), torch.ones(shape[:2], dtype=torch.bool, device=device))
    assert found.shape == shape[:2]
    assert (found == -1).all()


def test_same_result_each_time_and_inputs_left_alone(device: str) -> None:
    cost = problems("ties", 3, 9, 12, 7).to(device)
    rows, before = all_rows(cost).to(device), cost.clone()
    found = linear_assignment(cost, rows)
    assert torch.equal(linear_assignment(cost, rows), found)
    assert torch.equal(cost, before)
    assert rows.all()


def test_compiles_in_one_graph(device: str) -> None:
    torch._dynamo.reset()
    cost = problems("boxes", 2, 5, 9, 8).to(device)
    rows = all_rows(cost).to(device)
    compiled = torch.compile(
        lambda cost, rows: linear_assignment(2 * cost, rows) + 0, fullgraph=True, backend="aot_eager"
    )
    assert torch.equal(compiled(cost, rows), linear_assignment(2 * cost, rows))


def test_the_kernel_is_taken_up_to_its_size(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from matchloss.kernels import linear_assignment_cuda

    calls = []
    monkeypatch.setattr(linear_assignment_cuda, "assign_problems", lambda cost, rows: calls.append(1) or -rows.long())
    cost = torch.rand(2, 3, 5, device=device)
    rows = all_rows(cost).to(device)
    linear_assignment(cost, rows)
    linear_assignment(cost.double(), rows)
    assert len(calls) == 2
    with matchloss.reference():
        linear_assignment(cost, rows)
    monkeypatch.setattr(_linear_assignment, "MOST_ON_GPU", 4)
    assert torch.equal(linear_assignment(cost, rows).cpu(), on_cpu(cost.cpu(), rows.cpu()))
    assert len(calls) == 2
