"""Losses that look at the whole batch, and options without sense: hand-drawn cases, and where others went wrong."""

import math
import os
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

from by_hand import HALF, pixels, slope, tensor
from matchloss.losses import (
    asymmetric_loss,
    balanced_binary_cross_entropy_loss,
    binary_cross_entropy_loss,
    cross_entropy_loss,
    ohem_cross_entropy_loss,
    quality_focal_loss,
    softmax_focal_loss,
    varifocal_loss,
)

# Balanced cross entropy


def test_balanced_weighs_both_kinds_alike_in_all() -> None:
    targets = tensor(1, 0, 0, 0)
    got = balanced_binary_cross_entropy_loss(tensor(0, 0, 0, 0), targets, reduction="none")
    torch.testing.assert_close(got, tensor(0.75, 0.25, 0.25, 0.25) * HALF)


def test_balance_is_a_constant_and_ignores_what_is_masked() -> None:
    targets = tensor(1, 0, 0, 0).requires_grad_()
    logits = tensor(0, 0, 0, 0)
    mask = torch.tensor([True, True, False, False])
    got = balanced_binary_cross_entropy_loss(logits, targets, mask=mask, reduction="none")
    torch.testing.assert_close(got.detach(), tensor(0.5, 0.5, 0, 0) * HALF)
    # β = 1/2 leaves a target no slope of its own; what there would be came through β.
    torch.testing.assert_close(slope(got[0], targets), torch.zeros_like(targets))


def test_balance_per_image() -> None:
    targets = torch.stack([tensor(1, 0, 0, 0), tensor(1, 1, 1, 0)])
    got = balanced_binary_cross_entropy_loss(torch.zeros_like(targets), targets, per_image=True, reduction="none")
    torch.testing.assert_close(got, torch.stack([tensor(3, 1, 1, 1), tensor(1, 1, 1, 3)]) * HALF / 4)


@pytest.mark.parametrize("kind", [0.0, 1.0])
@pytest.mark.parametrize("per_image", [False, True])
def test_false_positives_cost_without_any_positive(kind: float, per_image: bool) -> None:
    # The papers' β = 1 gives a batch without text a gradient of 0, and then nothing holds false positives back.
    logits = torch.zeros(2, 3, requires_grad=True)
    targets = torch.full((2, 3), kind)
    options = {"per_image": per_image, "reduction": "sum"}
    penalized = slope(balanced_binary_cross_entropy_loss(logits, targets, **options), logits)
    torch.testing.assert_close(penalized, torch.full((2, 3), 0.25 - 0.5 * kind))
    skipped = balanced_binary_cross_entropy_loss(logits, targets, empty="skip", **options)
    assert skipped.item() == 0
    assert not slope(skipped, logits).any()


def balanced_on_a_rank(rank: int, folder: Path) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    targets = (tensor(1, 1, 0), tensor(0, 0, 0, 0, 0))[rank]  # uneven, and one rank has no positive
    logits = torch.zeros_like(targets)
    alone, synced = (
        balanced_binary_cross_entropy_loss(logits, targets, sync=sync, reduction="none") for sync in (False, True)
    )
    torch.save((alone, synced), folder / f"{rank}.pt")
    torch.distributed.barrier()  # a rank that leaves early breaks the other's connection
    torch.distributed.destroy_process_group()


def test_balance_over_ranks_is_that_of_the_whole_batch(tmp_path: Path) -> None:
    mp.spawn(balanced_on_a_rank, args=(tmp_path,), nprocs=2)
    (alone, synced), (alone_empty, synced_empty) = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    # Two of eight are positive: β = 3/4.
    torch.testing.assert_close(synced, tensor(0.75, 0.75, 0.25) * HALF)
    torch.testing.assert_close(synced_empty, tensor(0.25, 0.25, 0.25, 0.25, 0.25) * HALF)
    # Without sync each rank goes by its own: two of three, and none.
    torch.testing.assert_close(alone, tensor(1, 1, 2) * HALF / 3)
    torch.testing.assert_close(alone_empty, tensor(1, 1, 1, 1, 1) * HALF / 2)


# Hard examples


def test_ohem_keeps_what_is_below_the_threshold_and_at_least_min_kept() -> None:
    logits, labels = pixels(0.1, 0.6, 0.8, 0.9)
    kept = [
        ohem_cross_entropy_loss(logits, labels, **options, reduction="none")[0].count_nonzero().item()
        for options in (
            {"threshold": 0.7, "min_kept": 0},
            {"threshold": 0.7, "min_kept": 3},
            {"threshold": 0.7, "min_kept": 1},
            {"threshold": 0.7, "min_kept": 0.75},
            {"threshold": None, "min_kept": 1},
            {"threshold": None, "min_kept": 1.0},
            {"threshold": None, "min_kept": 0.01},
            {"threshold": None, "min_kept": 99},
        )
    ]
    assert kept == [2, 3, 2, 3, 1, 4, 1, 4]
    got = ohem_cross_entropy_loss(logits, labels, min_kept=0)
    torch.testing.assert_close(got.item(), -(math.log(0.1) + math.log(0.6)) / 2)


def test_ohem_of_equal_elements_keeps_the_first_min_kept() -> None:
    # mmsegmentation compares with the probability at rank min_kept by `<`: of equal ones none is left, and 0 / 0 = NaN.
    logits, labels = pixels(*[0.5] * 100)  # so many that an unstable sort would mix them
    got = ohem_cross_entropy_loss(logits, labels, threshold=0.1, min_kept=2, reduction="none")
    torch.testing.assert_close(got, tensor(1, 1, *[0] * 98).view(1, 100) * HALF)
    saturated = torch.tensor([[[1e4, 1e4], [-1e4, -1e4]]])
    assert ohem_cross_entropy_loss(saturated, torch.zeros(1, 2, dtype=torch.long), min_kept=1).item() == 0


def test_ohem_with_all_ignored_is_zero_in_the_graph() -> None:
    # mmsegmentation returns a constant, which distributed training takes for an unused parameter.
    logits = torch.zeros(1, 2, 3, requires_grad=True)
    loss = ohem_cross_entropy_loss(logits, torch.full((1, 3), -100))
    assert loss.item() == 0
    assert torch.equal(slope(loss, logits), torch.zeros_like(logits))


def test_ohem_takes_its_share_of_the_valid_elements() -> None:
    # nnU-Net's and SegLossOdyssey's top k % takes in ignored voxels, of loss 0.
    logits, labels = pixels(0.1, 0.2, *[0.9] * 6)
    labels[0, 4:] = -100
    got = ohem_cross_entropy_loss(logits, labels, threshold=None, min_kept=0.5)
    torch.testing.assert_close(got.item(), -(math.log(0.1) + math.log(0.2)) / 2)
    everything = ohem_cross_entropy_loss(logits, labels, min_kept=7)  # more than there are
    torch.testing.assert_close(everything, cross_entropy_loss(logits, labels))


def test_ohem_does_not_hide_one_nan_among_many() -> None:
    logits, labels = pixels(0.1, 0.9, 0.9)
    logits[0, :, 2] = math.nan
    for options in ({"threshold": 0.7, "min_kept": 0}, {"threshold": None, "min_kept": 1}):
        assert ohem_cross_entropy_loss(logits, labels, **options).isnan()


# Options


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, t: ohem_cross_entropy_loss(x, t, threshold=None, min_kept=0), "min_kept > 0"),
        (lambda x, t: ohem_cross_entropy_loss(x, t, threshold=1.5), "threshold in"),
        (lambda x, t: ohem_cross_entropy_loss(x, t, min_kept=1.5), "min_kept"),
        (lambda x, t: ohem_cross_entropy_loss(x, x), "integer labels"),
        (lambda x, t: softmax_focal_loss(x, t, alpha=torch.ones(3)), r"alpha of shape \(2,\) or a number, got \(3,\)"),
        (lambda x, t: softmax_focal_loss(x, t, gamma=-1), "gamma >= 0"),
        (lambda x, t: quality_focal_loss(x, t, beta=-1), "beta >= 0"),
        (lambda x, t: varifocal_loss(x, t, positives="boxes"), "positives .* 'scores', 'labels', got 'boxes'"),
        (lambda x, t: asymmetric_loss(x, t, clip=0), r"clip in \(0, 1\) or None"),
        (lambda x, t: binary_cross_entropy_loss(x, t, label_smoothing=2), "label_smoothing in"),
        (lambda x, t: balanced_binary_cross_entropy_loss(x, t, empty="zero"), "empty .* 'penalize', 'skip'"),
        (lambda x, t: balanced_binary_cross_entropy_loss(x, t, sync=True, per_image=True), "sync=False"),
    ],
)
def test_senseless_options_are_an_error(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(torch.zeros(2, 2), torch.tensor([0, 1]))
