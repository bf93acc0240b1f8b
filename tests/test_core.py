"""The reduction and the normaliser that everything shares."""

import os
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

import matchloss
from matchloss._core import normalizer, reduce_loss, use_fast_path


def test_mean_divides_by_what_is_valid() -> None:
    loss = torch.tensor([[1.0, 2.0], [3.0, float("nan")]])
    valid = torch.tensor([[True, True], [True, False]])
    assert reduce_loss("f", loss, "mean", valid=valid).item() == 2.0
    assert reduce_loss("f", loss, "sum", valid=valid).item() == 6.0
    assert reduce_loss("f", loss, "none", valid=valid).tolist() == [[1.0, 2.0], [3.0, 0.0]]
    weights = torch.tensor([2.0, 1.0])
    assert reduce_loss("f", loss, "mean", valid=valid, weights=weights).item() == pytest.approx((2 + 2 + 6) / 3)
    assert reduce_loss("f", loss, "mean", valid=valid, total=torch.tensor(12.0)).item() == 0.5


def test_mean_of_nothing_is_zero_with_a_gradient() -> None:
    loss = torch.ones(3, requires_grad=True)
    for valid in (torch.zeros(3, dtype=torch.bool), None):
        picked = loss if valid is not None else loss[:0]
        value = reduce_loss("f", picked, "mean", valid=valid)
        assert value.item() == 0
        assert torch.autograd.grad(value, loss)[0].tolist() == [0, 0, 0]


def test_errors_name_caller_and_shapes() -> None:
    loss = torch.ones(2, 3)
    with pytest.raises(ValueError, match=r"f: expected mask broadcastable to \(2, 3\), got \(4,\)"):
        reduce_loss("f", loss, "mean", valid=torch.ones(4, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"f: expected weights broadcastable to \(2, 3\), got \(2,\)"):
        reduce_loss("f", loss, "mean", weights=torch.ones(2))


def test_reference_is_a_scope() -> None:
    assert use_fast_path()
    with matchloss.reference():
        assert not use_fast_path()
        with matchloss.reference():
            pass
        assert not use_fast_path()
    assert use_fast_path()


def test_normalizer_of_one_process() -> None:
    assert normalizer(torch.tensor([0.0, 0.4, 7.0])).tolist() == [1.0, 1.0, 7.0]
    assert normalizer(torch.tensor([0.0, 0.5]), at_least=0.0).tolist() == [1.0, 0.5]


def count_on_rank(rank: int, folder: Path) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    counts = torch.tensor([[1.0, 0.0, 5.0], [0.0, 0.0, 6.0]])[rank]
    torch.save((normalizer(counts), counts), folder / f"{rank}.pt")
    torch.distributed.barrier()  # a rank that leaves first can take the other's connection with it
    torch.distributed.destroy_process_group()


def test_normalizer_of_two_processes_floors_before_it_divides(tmp_path: Path) -> None:
    """One object on two ranks: each rank divides by 1/2, so that the average of the gradients has weight 1."""
    mp.spawn(count_on_rank, args=(tmp_path,), nprocs=2)
    for rank in range(2):
        divisor, counts = torch.load(tmp_path / f"{rank}.pt")
        assert divisor.tolist() == [0.5, 0.5, 5.5]
        assert counts.tolist() == [[1.0, 0.0, 5.0], [0.0, 0.0, 6.0]][rank], "the caller's counts are left alone"
