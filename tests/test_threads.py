"""Rows are shared among torch's threads, or among new ones where those cannot be had."""

import multiprocessing
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from matchloss.kernels import threads_cpu
from matchloss.kernels.threads_cpu import share_rows


@pytest.fixture(params=["torch's team", "new threads"], autouse=True)
def two_threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    if request.param == "new threads":
        monkeypatch.setattr(threads_cpu, "_torch_team", lambda: None)
    elif threads_cpu._torch_team() is None:
        pytest.skip("torch has its threads from elsewhere here")
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("rows", [0, 1, 2, 7, 1000])
@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_each_row_is_done_once(rows: int, threads: int) -> None:
    torch.set_num_threads(threads)
    done = torch.zeros(rows, dtype=torch.int64)
    share_rows(lambda part: done[part].add_(1), rows, 3)
    assert (done == 1).all()


def test_parts_are_the_same_each_time() -> None:
    """Sums by part must not depend on who was faster."""
    parts: list[list[slice]] = [[], []]
    for found in parts:
        share_rows(found.append, 101, 10)
    assert sorted(map(str, parts[0])) == sorted(map(str, parts[1])) == ["slice(0, 50, None)", "slice(50, 101, None)"]


def test_few_rows_stay_with_the_caller() -> None:
    who = []
    share_rows(lambda part: who.append(threading.get_ident()), 9, 10)
    assert who == [threading.get_ident()]


def test_two_work_at_once() -> None:
    both = threading.Barrier(2)
    share_rows(lambda part: both.wait(timeout=20), 100, 1)
    assert not both.broken


def test_no_part_is_lost_where_there_is_one_thread_only() -> None:
    """A team inside another one has one member."""
    inner = []
    share_rows(lambda part: share_rows(inner.append, 100, 1), 100, 1)
    assert sum(part.stop - part.start for part in inner) == 200


def test_an_error_reaches_the_caller() -> None:
    def work(part: slice) -> None:
        if part.start > 0:
            raise ValueError("of a part")

    with pytest.raises(ValueError, match="of a part"):
        share_rows(work, 100, 1)


def _share_in_a_child(queue: "multiprocessing.Queue[int]") -> None:
    torch.set_num_threads(2)
    done: list[slice] = []
    share_rows(done.append, 100, 1)
    queue.put(len(done))


def test_a_forked_process_does_not_wait_for_threads_it_has_not() -> None:
    share_rows(lambda part: None, 100, 1)
    forks = multiprocessing.get_context("fork")
    queue = forks.Queue()
    child = forks.Process(target=_share_in_a_child, args=(queue,))
    child.start()
    try:
        assert queue.get(timeout=30) == 2
    finally:
        child.kill()


def test_torch_keeps_its_threads() -> None:
    """It works with them before and after."""
    values = torch.rand(300_000)
    expected = values.exp()
    for _ in range(20):
        share_rows(lambda part: time.sleep(0), 100, 50)
        assert torch.equal(values.exp(), expected)
