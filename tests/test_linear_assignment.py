"""Linear assignment, by the kernel and by scipy: the optimum, by trying all too; ties; broken and huge costs."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy.optimize import linear_sum_assignment
from torch import Tensor

import matchloss
from assignment_problems import KINDS, all_rows, problems
from host_reads import NoHostReads
from inputs import generator
from matchloss._core import has_numba
from matchloss.assigners._linear_assignment import linear_assignment
from reference.set_prediction import best_sum

SHAPES = ((1, 1), (1, 9), (3, 3), (4, 40), (7, 100), (20, 64), (12, 12), (9, 5), (30, 20), (33, 71))
kernel_only = pytest.mark.skipif(not has_numba(), reason="scipy settles ties in its own way")


@pytest.fixture(autouse=True, params=["kernel", "plain"])
def _form(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "kernel":
        yield
    else:
        with matchloss.reference():
            yield


def assert_optimal(found: Tensor, cost: Tensor, rows: Tensor) -> None:
    """Finite costs: as many rows as can be, no column twice, and the sum that scipy finds."""
    for taken, problem, usable in zip(found.numpy(), cost.double().numpy(), rows.numpy(), strict=True):
        matched = np.flatnonzero(taken >= 0)
        assert usable[matched].all()
        assert len(set(taken[matched])) == len(matched) == min(usable.sum(), problem.shape[1])
        best = linear_sum_assignment(problem[usable])
        assert problem[matched, taken[matched]].sum() == pytest.approx(problem[usable][best].sum(), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_problems_have_the_optimum_of_scipy(kind: str) -> None:
    for number, (rows, columns) in enumerate(SHAPES):
        cost = problems(kind, 250, rows, columns, number)
        some = torch.rand(cost.shape[:2], generator=generator(number)) < 0.9
        counted = some if number % 2 else all_rows(cost)
        assert_optimal(linear_assignment(cost, counted), cost, counted)


@pytest.mark.parametrize("kind", KINDS)
def test_hard_problems_have_the_optimum_of_scipy(kind: str) -> None:
    """Square ones and crowded ones, whose paths are long."""
    for rows, columns in ((80, 80), (100, 60), (90, 110)):
        cost = problems(kind, 3, rows, columns, rows)
        assert_optimal(linear_assignment(cost, all_rows(cost)), cost, all_rows(cost))
        exact = cost.double() / 3
        assert_optimal(linear_assignment(exact, all_rows(cost)), exact, all_rows(cost))


def entries(draw: st.DrawFn, shape: tuple[int, int]) -> np.ndarray:
    few = st.sampled_from([0.0, 1.0, -1.0, 0.5, 2.0, np.nan, np.inf, -np.inf])
    some = st.one_of(few, st.floats(-100, 100, width=32))
    size = shape[0] * shape[1]
    return np.array(draw(st.lists(some, min_size=size, max_size=size)), np.float32).reshape(shape)


@st.composite
def tiny(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(st.integers(0, 4)), draw(st.integers(0, 5))
    usable = draw(st.lists(st.booleans(), min_size=shape[0], max_size=shape[0]))
    return entries(draw, shape), np.array(usable, bool)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(tiny())
def test_tiny_problems_have_the_optimum_of_trying_all(problem: tuple[np.ndarray, np.ndarray]) -> None:
    """As many finite pairs as can be, then the least sum, whatever is broken."""
    cost, usable = problem
    taken = linear_assignment(torch.from_numpy(cost)[None], torch.from_numpy(usable)[None])[0].numpy()
    matched = np.flatnonzero(taken >= 0)
    values = cost.astype(np.float64)[matched, taken[matched]]
    count, least = best_sum(cost.astype(np.float64), usable)
    assert usable[matched].all()
    assert np.isfinite(values).all()
    assert len(set(taken[matched])) == len(matched) == count
    assert values.sum() == pytest.approx(least, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_broken_rows_and_columns_leave_the_others_their_optimum(value: float) -> None:
    cost = problems("boxes", 40, 8, 20, 0)
    rows, columns = torch.arange(8) % 4 != 1, torch.arange(20) % 3 != 0
    broken = torch.where(rows[:, None] & columns, cost, value)
    found = linear_assignment(broken, all_rows(cost))
    assert (found[:, ~rows] == -1).all()
    place = torch.cumsum(columns, 0) - 1
    assert columns[found[:, rows]].all()
    assert_optimal(place[found[:, rows]], cost[:, rows][:, :, columns], all_rows(cost)[:, rows])


def test_fewer_good_columns_than_rows() -> None:
    """The best rows get them; none gets a broken one."""
    cost = problems("boxes", 40, 12, 20, 1)
    broken = cost.clone()
    broken[:, :, 5:] = torch.nan
    assert_optimal(linear_assignment(broken, all_rows(cost)), cost[:, :, :5], all_rows(cost))


def test_single_broken_pairs_take_no_digits_from_others() -> None:
    """Costs that differ in the last digits of float32, in one problem with many pairs that are not finite."""
    rng = generator(2)
    cost = 10 + 1e-6 * torch.rand(60, 10, 14, generator=rng)
    broken = torch.rand(cost.shape, generator=rng) < 0.5
    broken[:, torch.arange(10), torch.arange(10)] = False  # all rows can be matched
    found = linear_assignment(torch.where(broken, torch.nan, cost), all_rows(cost))
    for taken, problem, bad in zip(found.numpy(), cost.double().numpy(), broken.numpy(), strict=True):
        assert not bad[np.arange(10), taken].any()
        best = linear_sum_assignment(np.where(bad, 1e4, problem))
        assert problem[np.arange(10), taken].sum() == pytest.approx(problem[best].sum(), abs=1e-12)


def test_of_rows_that_want_the_same_few_columns_those_that_cost_most_are_left() -> None:
    """Single pairs that are not finite, and no way around them."""
    cost = problems("random", 60, 7, 9, 10)
    bad = torch.zeros(7, 9, dtype=torch.bool)
    bad[:5, 2:], bad[6, :3] = True, True
    found = linear_assignment(torch.where(bad, torch.inf, cost), all_rows(cost))
    for taken, problem in zip(found.numpy(), cost.double().numpy(), strict=True):
        matched = np.flatnonzero(taken >= 0)
        assert not bad.numpy()[matched, taken[matched]].any()
        assert len(set(taken[matched])) == len(matched) == 4
        rows, columns = linear_sum_assignment(np.where(bad, 1e4, problem))
        pairs = ~bad.numpy()[rows, columns]
        assert problem[matched, taken[matched]].sum() == pytest.approx(problem[rows, columns][pairs].sum(), abs=1e-9)


@pytest.mark.parametrize("huge", [1e12, 1e30, 3e38, -1e30])
def test_huge_rows_and_columns_leave_the_others_their_optimum(huge: float) -> None:
    """A target as far as that, with any query; queries as far as that, while there are others."""
    cost = problems("boxes", 150, 20, 24, 3)
    rows = torch.arange(20) % 5 == 2
    found = linear_assignment(torch.where(rows[:, None], huge, cost), all_rows(cost))  # they take what is left
    assert_optimal(found, torch.where(rows[:, None], 0.0, cost), all_rows(cost))
    if huge > 0:
        few, near = cost[:, :14], torch.arange(24) % 3 != 0
        found = linear_assignment(torch.where(near, few, huge), all_rows(few))
        assert near[found].all()
        assert_optimal((torch.cumsum(near, 0) - 1)[found], few[:, :, near], all_rows(few))


def test_the_largest_floats_do_not_overflow() -> None:
    signs = torch.tensor([[[1.0, -1.0, 0.0], [-1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]])
    for dtype in (torch.float32, torch.float64):
        cost = torch.finfo(dtype).max * signs.to(dtype)
        assert linear_assignment(cost, all_rows(cost)).tolist() == [[1, 0, 2]]
        cost[0, 0, 0] = torch.nan
        assert linear_assignment(cost, all_rows(cost)).tolist() == [[1, 0, 2]]
        crowded = cost[:, [2, 2]] * torch.tensor([1.0, -1.0, 1.0], dtype=dtype)  # both want the second
        assert sorted(linear_assignment(crowded, all_rows(crowded))[0].tolist()) in ([0, 1], [1, 2])


@kernel_only
def test_ties_go_to_free_columns_and_then_to_the_first() -> None:
    if not matchloss._core.use_fast_path():
        pytest.skip("scipy settles ties in its own way")
    cost = torch.zeros(1, 3, 5)
    assert linear_assignment(cost, all_rows(cost)).tolist() == [[0, 1, 2]]
    assert linear_assignment(cost, torch.tensor([[False, True, True]])).tolist() == [[-1, 0, 1]]
    assert linear_assignment(cost.mT.contiguous(), torch.ones(1, 5, dtype=torch.bool)).tolist() == [[0, 1, 2, -1, -1]]
    # The second row could as well push the first away from its column.
    cost = torch.tensor([[[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]])
    assert linear_assignment(cost, all_rows(cost)).tolist() == [[0, 2]]
    cost = torch.tensor([[[-0.0, 0.0, 1.0], [1.0, 0.0, -0.0]]])
    assert linear_assignment(cost, all_rows(cost)).tolist() == [[0, 2]]


def test_problems_do_not_touch_each_other() -> None:
    cost = torch.cat([problems(kind, 5, 9, 13, 4) for kind in KINDS])
    cost[3, 2, 4], cost[8], cost[11, :, 2] = torch.nan, torch.inf, torch.nan
    rows = torch.rand(cost.shape[:2], generator=generator(4)) < 0.7
    found, turn = linear_assignment(cost, rows), torch.randperm(20, generator=generator(5))
    assert torch.equal(linear_assignment(cost[turn], rows[turn]), found[turn])
    for one in range(20):
        assert torch.equal(linear_assignment(cost[one : one + 1], rows[one : one + 1])[0], found[one])


def test_other_strides_and_what_rows_left_out_hold() -> None:
    cost = problems("random", 6, 7, 11, 6)
    rows = torch.rand(6, 7, generator=generator(6)) < 0.6
    found = linear_assignment(cost, rows)
    assert torch.equal(linear_assignment(cost.mT.contiguous().mT, rows.T.contiguous().T), found)
    for value in (0.0, -1e9, torch.nan):
        assert torch.equal(linear_assignment(torch.where(rows[..., None], cost, value), rows), found)
    assert torch.equal(linear_assignment(cost, rows[:1].expand(6, 7)), linear_assignment(cost, rows[:1].repeat(6, 1)))


@kernel_only
def test_threads_share_the_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    from matchloss.kernels import linear_assignment_cpu

    for count in (1, 2, 7, 40):
        cost = problems("boxes", count, 9, 13, 7)
        rows = torch.rand(cost.shape[:2], generator=generator(7)) < 0.5
        rows[: count // 2] = False
        found = linear_assignment(cost, rows)
        with monkeypatch.context() as change:
            change.setattr(linear_assignment_cpu, "COSTS_A_THREAD", 1)
            change.setattr(torch, "get_num_threads", lambda: 3)
            assert torch.equal(linear_assignment(cost, rows), found)


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (2, 3, 0), (0, 0, 0)])
def test_nothing_to_assign(shape: tuple[int, int, int]) -> None:
    found = linear_assignment(torch.zeros(shape), torch.ones(shape[:2], dtype=torch.bool))
    assert found.shape == shape[:2]
    assert found.dtype == torch.int64
    assert (found == -1).all()
    left_out = linear_assignment(torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.bool))
    assert (left_out == -1).all()


def test_compiles_in_one_graph_and_reads_nothing_on_the_way() -> None:
    torch._dynamo.reset()
    cost = problems("boxes", 4, 5, 9, 8)
    rows = all_rows(cost)
    found = linear_assignment(2 * cost, rows)
    compiled = torch.compile(
        lambda cost, rows: linear_assignment(2 * cost, rows) + 0, fullgraph=True, backend="aot_eager"
    )
    assert torch.equal(compiled(cost, rows), found)
    meta = linear_assignment(cost.to("meta"), rows.to("meta"))
    assert (meta.shape, meta.dtype) == (found.shape, found.dtype)
    with NoHostReads():
        again = linear_assignment(2 * cost, rows)
    assert torch.equal(again, found)
    torch.library.opcheck(linear_assignment, (cost, rows))


def test_no_gradient_and_inputs_left_alone() -> None:
    cost = problems("random", 3, 4, 6, 9).requires_grad_()
    before, rows = cost.detach().clone(), all_rows(cost)
    assert not linear_assignment(cost, rows).requires_grad
    assert torch.equal(cost.detach(), before)
    assert rows.all()
