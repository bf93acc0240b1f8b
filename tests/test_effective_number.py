"""Class weights by effective number."""

import pytest
import torch

from matchloss.losses import effective_number_weights


def test_by_hand() -> None:
    """β = 1/2: one, two, three examples are worth 1, 3/2, 7/4; the weights are as 21 : 14 : 12."""
    got = effective_number_weights([1, 2, 3], beta=0.5)
    torch.testing.assert_close(got, torch.tensor([21.0, 14.0, 12.0]) * 3 / 47)


def test_limits_are_equal_weights_and_inverse_counts() -> None:
    counts = torch.tensor([10, 1000, 250])
    torch.testing.assert_close(effective_number_weights(counts, beta=0.0), torch.ones(3))
    inverse = 1 / counts
    torch.testing.assert_close(
        effective_number_weights(counts, beta=1 - 1e-9), 3 * inverse / inverse.sum(), rtol=1e-5, atol=0
    )


def test_rarer_classes_weigh_more_and_the_sum_is_the_number_of_classes() -> None:
    got = effective_number_weights([5000, 500, 50, 5])
    assert got.tolist() == sorted(got.tolist())
    assert got.sum().item() == pytest.approx(4)


def test_absent_classes_weigh_nothing() -> None:
    got = effective_number_weights([100, 0, 100])
    assert got.tolist() == pytest.approx([1.5, 0, 1.5])
    assert effective_number_weights([0, 0]).tolist() == [0, 0]


def test_pixel_counts_keep_their_digits() -> None:
    # 1 - β^n by subtraction in float32 is 0 for β this near 1.
    counts = torch.tensor([1.0, 2.0, 1e9])
    wanted = effective_number_weights(counts.double(), beta=1 - 1e-9)
    torch.testing.assert_close(effective_number_weights(counts, beta=1 - 1e-9).double(), wanted, rtol=1e-6, atol=0)
    assert wanted.dtype == torch.float64
    assert (wanted[0] / wanted[2]).item() == pytest.approx((1 - 0.36788) * 1e9, rel=1e-4)  # 1 - 1/e


@pytest.mark.parametrize(
    ("counts", "beta", "message"),
    [([1, 2], 1.0, r"beta in \[0, 1\), got 1.0"), ([1, -2], 0.9, "counts >= 0, got -2"), ([[1]], 0.9, r"got \(1, 1\)")],
)
def test_senseless_arguments_are_an_error(counts: list[int], beta: float, message: str) -> None:
    with pytest.raises(ValueError, match=f"effective_number_weights: expected .*{message}"):
        effective_number_weights(counts, beta=beta)
