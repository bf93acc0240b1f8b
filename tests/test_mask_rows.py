"""Mask terms of set prediction: a slow form, padding, unmatched rows, half precision, gradients, no host reads."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

import matchloss
from host_reads import NoHostReads
from matchloss.criteria import _mask_pixels
from matchloss.criteria._mask_points import areas
from matchloss.criteria._mask_rows import mask_sums

FULL_AND_POINTS = pytest.mark.parametrize("points", [None, 40])


@dataclass(frozen=True)
class Scene:
    """Two layers, three images of up to four targets, logits a third of the masks' size."""

    logits: Tensor
    masks: Tensor
    matched: Tensor
    weights: Tensor
    pixels: Tensor | None = None

    def sums(self, points: int | None = None, seed: int = 0) -> tuple[Tensor, Tensor]:
        generator = None if points is None else torch.Generator().manual_seed(seed)
        fields = self.logits, self.masks, self.matched, self.weights, self.pixels
        return mask_sums(*fields, points=points, generator=generator)

    def value_and_slope(self, points: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Both sums, and the gradient of a mix that weighs their layers differently."""
        logits = self.logits.clone().requires_grad_()
        focal, dice = replace(self, logits=logits).sums(points)
        mix = (focal * torch.tensor([1.0, 3.0]) + dice * torch.tensor([2.0, 0.5])).sum()
        (slope,) = torch.autograd.grad(mix, logits)
        return focal, dice, slope


def scene(size: tuple[int, int] = (9, 12), dtype: torch.dtype = torch.float64) -> Scene:
    rng = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(2, 3, 4, 3, 4, generator=rng, dtype=dtype)
    masks = torch.rand(3, 4, *size, generator=rng) < 0.4
    matched = torch.rand(2, 3, 4, generator=rng) < 0.6
    return Scene(logits, masks, matched, 0.5 + torch.rand(3, 4, generator=rng))


def padded(rows: int = 6, columns: int = 6) -> Scene:
    """The second image is small: the padding beside it is from row `rows` and from column `columns` on."""
    pixels = torch.ones(3, 9, 12, dtype=torch.bool)
    pixels[1, rows:] = False
    pixels[1, :, columns:] = False
    return replace(scene(), pixels=pixels)


def upsampled(small: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear, pixel by pixel."""
    out = np.zeros(size)
    for i, j in np.ndindex(*size):
        y = np.clip((i + 0.5) * small.shape[0] / size[0] - 0.5, 0, small.shape[0] - 1)
        x = np.clip((j + 0.5) * small.shape[1] / size[1] - 0.5, 0, small.shape[1] - 1)
        top, left = int(y), int(x)
        bottom, right = min(top + 1, small.shape[0] - 1), min(left + 1, small.shape[1] - 1)
        upper = small[top, left] * (1 - x + left) + small[top, right] * (x - left)
        lower = small[bottom, left] * (1 - x + left) + small[bottom, right] * (x - left)
        out[i, j] = upper * (1 - y + top) + lower * (y - top)
    return out


def slow_sums(scene: Scene) -> tuple[list[float], list[float]]:
    """One mask after the other, from the formulas."""
    focal, dice = [0.0] * len(scene.logits), [0.0] * len(scene.logits)
    for layer, image, m in np.argwhere(scene.matched.numpy()):
        target = scene.masks[image, m].numpy()
        counts = np.ones(target.shape, bool) if scene.pixels is None else scene.pixels[image].numpy()
        x, t = upsampled(scene.logits[layer, image, m].double().numpy(), target.shape)[counts], target[counts]
        p = 1 / (1 + np.exp(-x))
        loss = np.where(t, -0.25 * (1 - p) ** 2 * np.log(p), -0.75 * p**2 * np.log(1 - p))
        weight = scene.weights[image, m].item()
        focal[layer] += weight * loss.mean()
        dice[layer] += weight * (1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1))
    return focal, dice


@pytest.mark.parametrize("size", [(9, 12), (3, 4), (10, 7), (2, 3), (1, 1)])
def test_whole_masks_follow_the_formulas(size: tuple[int, int]) -> None:
    one = scene(size)
    focal, dice = one.sums()
    assert_close(focal.tolist(), slow_sums(one)[0])
    assert_close(dice.tolist(), slow_sums(one)[1])


@pytest.mark.parametrize(("rows", "columns"), [(6, 6), (5, 7), (9, 1), (1, 12), (2, 2)])
def test_with_padding_too(rows: int, columns: int) -> None:
    one = padded(rows, columns)
    assert_close(one.sums()[0].tolist(), slow_sums(one)[0])
    assert_close(one.sums()[1].tolist(), slow_sums(one)[1])


@pytest.mark.parametrize("one", [scene(), padded(), padded(5, 7)], ids=["whole", "padded", "odd"])
def test_the_written_gradient_is_that_of_the_plain_formula(one: Scene) -> None:
    fast = one.value_and_slope()
    with matchloss.reference():
        plain = one.value_and_slope()
    assert plain[2].abs().max() > 1e-3
    assert_close(fast, plain)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = padded().value_and_slope()
    monkeypatch.setitem(_mask_pixels.BLOCK, "cpu", 2 * 9 * 12)
    assert_close(padded().value_and_slope(), wanted)


@pytest.mark.parametrize("one", [scene(), padded()], ids=["whole", "padded"])
def test_gradients_are_right_twice(one: Scene) -> None:
    def total(logits: Tensor) -> Tensor:
        focal, dice = replace(one, logits=logits).sums()
        return (focal + 2 * dice).sum()

    logits = one.logits.clone().requires_grad_()
    assert torch.autograd.gradcheck(total, logits, fast_mode=True)
    assert torch.autograd.gradgradcheck(total, logits, fast_mode=True)


def test_gradients_at_points_are_right() -> None:
    """Points stay where they are for so small a step; which are the most uncertain does not change either."""
    one = padded()
    logits = one.logits.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda logits: replace(one, logits=logits).sums(points=12), logits, eps=1e-8, fast_mode=True
    )


# Padding


@FULL_AND_POINTS
def test_what_lies_in_the_padding_changes_nothing(points: int | None) -> None:
    one = padded(6, 6)
    wanted = one.value_and_slope(points)
    masks, logits = one.masks.clone(), one.logits.clone()
    masks[1, :, 6:] = masks[1, :, :, 6:] = True
    logits[:, 1, :, :, 3] = float("nan")  # columns 9 to 12; the third, 6 to 9, is a neighbour of the last pixels
    got = replace(one, masks=masks, logits=logits).value_and_slope(points)
    assert got[2].isfinite().all()
    assert_close(got, wanted, rtol=0, atol=0)
    assert (got[2][:, 1, :, :, 3] == 0).all()


@FULL_AND_POINTS
def test_a_cell_with_no_share_in_any_pixel_does_not_leak(points: int | None) -> None:
    """Logits of the masks' own size: the last pixel takes a share of zero from the padding beside it."""
    one = padded(6, 6)
    logits = F.interpolate(one.logits.flatten(0, 1), size=(9, 12), mode="bilinear").view(2, 3, 4, 9, 12)
    one = replace(one, logits=logits)
    wanted = one.value_and_slope(points)
    logits = logits.clone()
    logits[:, 1, :, 6:] = logits[:, 1, :, :, 6:] = float("nan")
    assert_close(replace(one, logits=logits).value_and_slope(points), wanted, rtol=0, atol=0)


def test_an_image_costs_the_same_alone_and_padded_to_its_neighbours() -> None:
    """DETR and transformers count the padding: there an image's loss depends on who else is in the batch."""
    rng = torch.Generator().manual_seed(1)
    # constant beyond the image, so that the upsampled border is that of the image alone
    small = 2 * torch.randn(1, 1, 2, 2, 2, generator=rng, dtype=torch.float64)
    masks = torch.rand(1, 2, 6, 6, generator=rng) < 0.5
    alone = Scene(small, masks, torch.ones(1, 1, 2, dtype=torch.bool), torch.ones(1, 2))
    canvas = F.pad(small[0], (0, 2, 0, 1), mode="replicate")[None]
    joined = replace(alone, logits=canvas, masks=F.pad(masks, (0, 6, 0, 3)))
    pixels = F.pad(torch.ones(1, 6, 6, dtype=torch.bool), (0, 6, 0, 3))
    assert_close(replace(joined, pixels=pixels).sums(), alone.sums())
    theirs, ours = joined.sums(), alone.sums()
    assert (theirs[0] - ours[0]).abs() > 0.01
    assert (theirs[1] - ours[1]).abs() > 0.01


@FULL_AND_POINTS
def test_pixels_that_all_count_are_as_no_pixels(points: int | None) -> None:
    one = scene()
    everything = replace(one, pixels=torch.ones(3, 9, 12, dtype=torch.bool))
    assert_close(everything.value_and_slope(points), one.value_and_slope(points))


@FULL_AND_POINTS
def test_an_image_that_is_all_padding_is_finite(points: int | None) -> None:
    pixels = torch.ones(3, 9, 12, dtype=torch.bool)
    pixels[0] = False
    focal, dice, slope = replace(scene(), pixels=pixels).value_and_slope(points)
    assert focal.isfinite().all()
    assert dice.isfinite().all()
    assert (slope[:, 0] == 0).all()


# Rows that nobody matched, and empty scenes


@FULL_AND_POINTS
def test_unmatched_rows_cost_nothing_whatever_they_hold(points: int | None) -> None:
    one = padded()
    broken = replace(one, logits=torch.where(one.matched[..., None, None], one.logits, float("nan")))
    wanted = one.value_and_slope(points)
    assert_close(broken.value_and_slope(points), wanted, rtol=0, atol=0)
    assert (wanted[2][~one.matched] == 0).all()
    assert (wanted[2][one.matched] != 0).flatten(1).any(1).all()
    with matchloss.reference():
        everywhere = broken.value_and_slope(points)
    assert everywhere[2].isfinite().all()
    if points is None:  # at points all rows draw, and so draw others
        assert_close(everywhere, wanted)


@FULL_AND_POINTS
@pytest.mark.parametrize("reference", [False, True])
def test_nothing_matched_is_zero_with_a_graph(points: int | None, reference: bool) -> None:
    none = replace(scene(), matched=torch.zeros(2, 3, 4, dtype=torch.bool))
    no_targets = Scene(
        torch.randn(2, 3, 0, 3, 4), torch.ones(3, 0, 9, 12) > 0, torch.ones(2, 3, 0) > 0, torch.ones(3, 0)
    )
    for one in (none, no_targets):
        logits = one.logits.clone().requires_grad_()
        if reference:
            with matchloss.reference():
                focal, dice = replace(one, logits=logits).sums(points)
        else:
            focal, dice = replace(one, logits=logits).sums(points)
        assert focal.tolist() == dice.tolist() == [0.0, 0.0]
        (slope,) = torch.autograd.grad((focal + dice).sum(), logits)
        assert (slope == 0).all()


@FULL_AND_POINTS
def test_a_broken_mask_of_a_match_is_seen(points: int | None) -> None:
    one = scene()
    layer, image, m = one.matched.nonzero()[0].tolist()
    logits = one.logits.clone()
    logits[layer, image, m] = float("nan")
    focal, dice = replace(one, logits=logits).sums(points)
    assert focal[layer].isnan()
    assert dice[layer].isnan()
    assert focal[1 - layer].isfinite()


@FULL_AND_POINTS
def test_weights_multiply_each_target(points: int | None) -> None:
    one = replace(scene(), matched=torch.ones(2, 3, 4, dtype=torch.bool))
    first = one.sums(points)
    assert_close(replace(one, weights=2 * one.weights).sums(points), (2 * first[0], 2 * first[1]))
    nothing = one.weights.clone()
    nothing[1:] = 0
    alone = Scene(one.logits[:, :1], one.masks[:1], one.matched[:, :1], one.weights[:1])
    if points is None:
        assert_close(replace(one, weights=nothing).sums(), alone.sums())


# Dtypes and backends


@FULL_AND_POINTS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_and_computed_in_full(points: int | None, dtype: torch.dtype) -> None:
    half = replace(scene(), logits=scene().logits.to(dtype))
    full = replace(half, logits=half.logits.float())
    assert half.sums(points)[0].dtype == torch.float32
    assert_close(half.sums(points), full.sums(points))
    assert_close(half.value_and_slope(points)[2], full.value_and_slope(points)[2].to(dtype))


@FULL_AND_POINTS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_extreme_logits_stay_finite(points: int | None, dtype: torch.dtype) -> None:
    one = scene()
    for size in (1e4, 30.0, 0.0, 1e-30):
        logits = (size * one.logits.sign()).to(dtype)
        focal, dice, slope = replace(one, logits=logits).value_and_slope(points)
        assert torch.cat([focal, dice, slope.flatten().double()]).isfinite().all()


@FULL_AND_POINTS
def test_traces_whole(points: int | None) -> None:
    one = replace(padded(), logits=padded().logits.float())
    torch.manual_seed(0)
    compiled = torch.compile(mask_sums, fullgraph=True, backend="aot_eager")
    logits = one.logits.clone().requires_grad_()
    focal, dice = compiled(logits, one.masks, one.matched, one.weights, one.pixels, points=points)
    (slope,) = torch.autograd.grad((focal + dice).sum(), logits)
    assert slope.isfinite().all()
    if points is None:
        assert_close((focal, dice), one.sums())


@FULL_AND_POINTS
def test_reads_nothing_on_the_host_where_that_would_stall(points: int | None) -> None:
    one = padded()
    logits = one.logits.clone().requires_grad_()
    with matchloss.reference(), NoHostReads():
        focal, dice = replace(one, logits=logits).sums(points)
        (focal + dice).sum().backward()


# Points


def test_points_can_be_had_again() -> None:
    one = padded()
    assert_close(one.sums(points=10), one.sums(points=10), rtol=0, atol=0)
    assert (one.sums(points=10, seed=1)[0] - one.sums(points=10)[0]).abs().max() > 1e-6


def test_points_on_flat_maps_tell_the_cross_entropy_and_dice_of_all_pixels() -> None:
    """Of flat maps every point says the same, at the border too, where zeros beyond it would pull the logits down."""
    one = padded()
    logits = torch.full_like(one.logits, 1.5)
    ones = replace(one, logits=logits, masks=torch.ones_like(one.masks))
    entropy, dice = ones.sums(points=50)
    p = torch.sigmoid(torch.tensor(1.5, dtype=torch.float64))
    total = (one.matched * one.weights.double()).sum((1, 2))
    assert_close(entropy, -p.log() * total)
    assert_close(dice, (1 - (2 * 50 * p + 1) / (50 * p + 50 + 1)) * total)


def test_many_points_on_smooth_maps_approach_the_mean_over_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the preference for unsure points, the padding's pixels left out, borders as the whole form has them."""
    monkeypatch.setattr("matchloss.criteria._mask_points.IMPORTANCE", 0.0)
    pixels = torch.ones(1, 9, 12, dtype=torch.bool)
    pixels[:, :, 8:] = False
    rng = torch.Generator().manual_seed(3)
    logits = 0.02 * torch.randn(1, 1, 1, 3, 4, generator=rng, dtype=torch.float64)
    masks = torch.zeros(1, 1, 9, 12, dtype=torch.bool)
    masks[..., :, 5:] = True  # on the last three columns of eight, and in the padding
    one = Scene(logits, masks, torch.ones(1, 1, 1, dtype=torch.bool), torch.ones(1, 1), pixels)
    x = torch.from_numpy(upsampled(logits[0, 0, 0].numpy(), (9, 12)))[:, :8]
    wanted = F.binary_cross_entropy_with_logits(x, masks[0, 0, :, :8].double())
    got, dice = one.sums(points=200_000)
    assert got.item() == pytest.approx(wanted.item(), abs=3e-4)
    assert dice.item() == pytest.approx(1 - 2 * 0.5 * 3 / 8 / (0.5 + 3 / 8), abs=5e-3)


def test_most_points_lie_where_the_logits_are_unsure() -> None:
    """A step from -8 to 8 in the middle: the random points alone would see a mean cross entropy of nearly nothing."""
    logits = torch.full((1, 1, 1, 8, 8), -8.0)
    logits[..., 4:] = 8.0
    masks = torch.ones(1, 1, 32, 32, dtype=torch.bool)
    masks[..., :16] = False
    one = Scene(logits, masks, torch.ones(1, 1, 1, dtype=torch.bool), torch.ones(1, 1))
    entropy, _ = one.sums(points=64)
    large = F.interpolate(logits[0], (32, 32), mode="bilinear")
    whole = F.binary_cross_entropy_with_logits(large, masks.float())
    assert entropy.item() > 3 * whole.item()


def test_areas_surround_the_pixels() -> None:
    pixels = torch.zeros(3, 4, 8, dtype=torch.bool)
    pixels[0, 1:3, 2:6] = True
    pixels[1] = True
    assert areas(pixels).tolist() == [[0.25, 0.25, 0.75, 0.75], [0, 0, 1, 1], [0, 0, 1, 1]]
