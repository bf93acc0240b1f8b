"""Locality-aware merging: equal to the algorithm written out, safe for the order of corners, and its special cases."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

import matchloss
from inputs import generator
from matchloss._core import has_numba
from matchloss.geometry import quad_area
from matchloss.postprocess import locality_aware_nms, rescale_quads
from reference import lanms as ref

WORD = torch.tensor([[0.0, 0.0], [40.0, 0.0], [40.0, 10.0], [0.0, 10.0]], dtype=torch.float64)


@pytest.fixture(params=["fast", "plain"])
def form(request):
    """With and without a kernel."""
    if request.param == "plain":
        with matchloss.reference():
            yield
    else:
        yield


def crowd(seed: int, count: int, *, words: int = 4, jitter: float = 2.0) -> tuple[Tensor, Tensor]:
    """Candidates of a few rotated words, partly in runs; corners start anywhere, some wind the other way."""
    rng = generator(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=rng, dtype=torch.float64)

    angles, shifts = 2 * uniform(words) - 1, 60 * uniform(words, 1, 2)
    turns = torch.stack([angles.cos(), -angles.sin(), angles.sin(), angles.cos()], -1).view(words, 2, 2)
    places = WORD @ turns.mT + shifts
    which = torch.randint(0, words, (count,), generator=rng)
    runs = torch.where(uniform(count) < 0.7, which.roll(1), which)
    quads = places[runs] + jitter * (uniform(count, 4, 2) - 0.5)
    starts = torch.randint(0, 4, (count,), generator=rng).tolist()
    rolled = [quad.roll(start, 0) for quad, start in zip(quads, starts, strict=True)]
    if rolled:
        quads = torch.stack([quad.flip(0) if k % 7 == 3 else quad for k, quad in enumerate(rolled)])
    return quads, 0.5 + 0.5 * uniform(count)


def turned_clockwise(quads: Tensor) -> np.ndarray:
    return torch.where((quad_area(quads) < 0)[:, None, None], quads[:, [0, 3, 2, 1]], quads).numpy()


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(0, 30),
    threshold=st.sampled_from([0.1, 0.3, 0.6]),
    nms_threshold=st.sampled_from([0.0, 0.2, 0.5]),
    grouped=st.booleans(),
)
@pytest.mark.usefixtures("form")
def test_equals_the_algorithm_written_out(
    seed: int, count: int, threshold: float, nms_threshold: float, grouped: bool
) -> None:
    quads, scores = crowd(seed, count)
    components = torch.randint(0, 3, (count,), generator=generator(seed)) if grouped else None
    options = {"threshold": threshold, "nms_threshold": nms_threshold}
    found, means = locality_aware_nms(quads, scores, components=components, **options)
    groups = None if components is None else components.tolist()
    wanted, wanted_means = ref.locality_aware_nms(turned_clockwise(quads), scores.numpy(), components=groups, **options)
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-9)
    np.testing.assert_allclose(means.numpy(), wanted_means, atol=1e-12)


@pytest.mark.skipif(not has_numba(), reason="the two forms are one")
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10**6), shape=st.sampled_from(["rectangle", "concave"]), grouped=st.booleans())
def test_kernel_equals_the_plain_form(seed: int, shape: str, grouped: bool) -> None:
    quads, scores = crowd(seed, 40, jitter=4.0)
    if shape == "concave":
        inwards = quads.mean(1) * 0.9 + quads[:, 1] * 0.1
        quads = torch.cat([quads[:, :1], inwards[:, None], quads[:, 2:]], 1)
    components = torch.randint(0, 2, scores.shape, generator=generator(seed)) if grouped else None
    fast = locality_aware_nms(quads + 1e4, scores, components=components)
    with matchloss.reference():
        plain = locality_aware_nms(quads + 1e4, scores, components=components)
    torch.testing.assert_close(fast, plain, rtol=0, atol=1e-8)


@pytest.mark.usefixtures("form")
def test_a_rectangle_from_any_corner_stays_itself() -> None:
    """Corner by corner, as the authors' code merges, the second would make a diamond of half the area."""
    for turn in range(4):
        for other in (WORD.roll(turn, 0), WORD.flip(0).roll(turn, 0)):
            quads, scores = locality_aware_nms(torch.stack([WORD, other]), torch.tensor([0.9, 0.6]))
            torch.testing.assert_close(quads, WORD[None])
            assert scores.tolist() == pytest.approx([0.75])


@pytest.mark.usefixtures("form")
def test_touching_words_stay_two() -> None:
    """Side by side, one above the other, and row by row in turns."""
    for beside in (WORD + torch.tensor([40.0, 0.0]), WORD + torch.tensor([0.0, 10.0])):
        candidates = torch.stack([WORD, WORD, beside, beside] * 3)
        for components in (None, torch.zeros(12, dtype=torch.int64)):
            quads, _ = locality_aware_nms(candidates, torch.full((12,), 0.9), components=components)
            assert ref.is_same_set(quads.numpy(), [WORD.numpy(), beside.numpy()], 1e-6)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), words=st.integers(1, 4), copies=st.integers(1, 5), grouped=st.booleans())
@pytest.mark.usefixtures("form")
def test_jittered_copies_of_words_become_the_words(seed: int, words: int, copies: int, grouped: bool) -> None:
    """Whatever the order in which words and their copies are met."""
    rng = generator(seed)
    real = WORD + 15.0 * torch.arange(words)[:, None, None]
    candidates = real.repeat(copies, 1, 1)
    candidates = candidates + torch.rand(candidates.shape, generator=rng) - 0.5
    shuffled = candidates[torch.randperm(len(candidates), generator=rng)]
    components = torch.zeros(len(shuffled), dtype=torch.int64) if grouped else None
    quads, scores = locality_aware_nms(shuffled, torch.full((len(shuffled),), 0.8), components=components)
    assert ref.is_same_set(quads.numpy(), real.numpy(), 0.5)
    assert scores.tolist() == pytest.approx([0.8] * words)
    if grouped:  # whole words are averaged, so the order does not matter
        again, _ = locality_aware_nms(candidates, torch.full((len(candidates),), 0.8), components=components)
        assert ref.is_same_set(quads.numpy(), again.numpy(), 1e-6)


def test_components_are_never_merged_with_each_other() -> None:
    shifted = WORD + torch.tensor([4.0, 0.0])
    candidates, scores = torch.stack([WORD, shifted, WORD]), torch.tensor([0.9, 0.8, 0.9])
    together, _ = locality_aware_nms(candidates, scores, components=torch.tensor([5, 5, 5]))
    assert len(together) == 1
    apart, _ = locality_aware_nms(candidates, scores, components=torch.tensor([5, 0, 5]), nms_threshold=1.0)
    assert ref.is_same_set(apart.numpy(), [WORD.numpy(), shifted.numpy()], 1e-6)


def test_the_sum_decides_and_the_mean_is_reported() -> None:
    """Three of 0.6 outweigh one of 0.9 that is not near enough to be merged, but near enough to go."""
    shifted = WORD + torch.tensor([24.0, 0.0])
    candidates = torch.stack([shifted, WORD, WORD, WORD])
    quads, scores = locality_aware_nms(candidates, torch.tensor([0.9, 0.6, 0.6, 0.6]), threshold=0.5, nms_threshold=0.2)
    torch.testing.assert_close(quads, WORD[None])
    assert scores.tolist() == pytest.approx([0.6])
    both, scores = locality_aware_nms(candidates, torch.tensor([0.9, 0.6, 0.6, 0.6]), threshold=0.5, nms_threshold=0.3)
    assert scores.tolist() == pytest.approx([0.9, 0.6]), "the best first"
    assert ref.closest_corners(both[0].numpy(), shifted.numpy()) < 1e-6


@pytest.mark.usefixtures("form")
def test_broken_candidates_are_left_out_and_touch_nothing() -> None:
    candidates = WORD.repeat(8, 1, 1)
    candidates[0, 0, 0], candidates[1, 2, 1] = torch.nan, torch.inf
    candidates[2] = WORD[[0, 2, 1, 3]]  # crosses itself
    candidates[3] = 0.0
    scores = torch.tensor([0.9, 0.9, 0.9, 0.9, torch.nan, 0.0, -0.5, 0.7])
    quads, means = locality_aware_nms(candidates, scores)
    torch.testing.assert_close(quads, WORD[None])
    assert means.tolist() == pytest.approx([0.7])
    nothing, none = locality_aware_nms(candidates[:5], scores[:5])
    assert nothing.shape == (0, 4, 2)
    assert none.shape == (0,)
    huge, _ = locality_aware_nms(WORD[None] * 1e200, scores[-1:])
    assert len(huge) == 0, "its area is beyond all numbers"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes(dtype: torch.dtype) -> None:
    quads, scores = locality_aware_nms(WORD.to(dtype)[None], torch.tensor([0.5], dtype=dtype))
    wanted = torch.float64 if dtype == torch.float64 else torch.float32
    assert quads.dtype == scores.dtype == wanted
    assert torch.equal(quads, WORD[None].to(wanted))


def test_inputs_are_left_alone() -> None:
    quads, scores = crowd(0, 20)
    copies = quads.clone(), scores.clone()
    locality_aware_nms(quads, scores)
    assert torch.equal(quads, copies[0])
    assert torch.equal(scores, copies[1])


def test_rescaled_to_the_photo() -> None:
    quads = torch.stack([WORD, WORD + 5])
    found = rescale_quads(quads, image_size=(32, 64), photo_size=(96, 32))
    assert torch.equal(found, quads * torch.tensor([0.5, 3.0]))
    clipped = rescale_quads(quads - 2, image_size=(32, 64), photo_size=(24, 64), clip=True)
    assert (clipped >= 0).all()
    assert clipped[..., 0].max() == 43
    assert rescale_quads(10 * quads, image_size=(8, 8), photo_size=(8, 9), clip=True).amax((0, 1)).tolist() == [9, 8]


def test_wrong_inputs_are_named() -> None:
    quads, scores = WORD[None], torch.tensor([0.5])
    with pytest.raises(ValueError, match=r"expected quads \(N, 4, 2\) and scores \(N,\), got \(1, 8\) and \(1,\)"):
        locality_aware_nms(quads.flatten(1), scores)
    with pytest.raises(ValueError, match="expected integer components of the scores' shape"):
        locality_aware_nms(quads, scores, components=torch.zeros(1))
    with pytest.raises(ValueError, match="expected components >= 0, got -1"):
        locality_aware_nms(quads, scores, components=torch.tensor([-1]))
    with pytest.raises(ValueError, match=r"expected threshold >= 0, got -0\.1"):
        locality_aware_nms(quads, scores, threshold=-0.1)
    with pytest.raises(ValueError, match=r"rescale_quads: expected quads \(..., 4, 2\), got \(1, 8\)"):
        rescale_quads(quads.flatten(1), image_size=(1, 1), photo_size=(1, 1))
    with pytest.raises(ValueError, match="expected photo_size > 0, got 0"):
        rescale_quads(quads, image_size=(1, 1), photo_size=(1, 0))
