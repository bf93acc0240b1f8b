"""Where windows are placed: never across a word if that can be had, and evenly over all places that are as good."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from matchloss.recipes.crop_words import place_window


def place(bounds: object, window: tuple[float, float], room: object, numbers: object, *, words: bool):
    low, high = (np.array(end, float) for end in room)
    return place_window(np.array(bounds, float).reshape(-1, 4), window, (low, high), np.array(numbers), words=words)


def counts(bounds: np.ndarray, window: tuple[float, float], corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of cut and of whole words for windows at corners (k, 2), word by word and side by side."""
    left, top = corners[:, :1], corners[:, 1:]
    right, bottom = left + window[0], top + window[1]
    x1, y1, x2, y2 = bounds.T
    whole = (x1 >= left) & (y1 >= top) & (x2 <= right) & (y2 <= bottom)
    missed = (x2 <= left) | (y2 <= top) | (x1 >= right) | (y1 >= bottom)
    return (~whole & ~missed).sum(1), whole.sum(1)


number = st.floats(0, 0.999)  # next to 1, a place is rounded onto the border of its cell
word = st.tuples(st.integers(-5, 40), st.integers(-5, 40), st.integers(1, 14), st.integers(1, 14))


@given(
    st.lists(word, max_size=9), st.tuples(st.integers(4, 24), st.integers(4, 24)), st.tuples(number, number, number),
    st.booleans(),
)  # fmt: skip
@settings(max_examples=120, deadline=None)
def test_no_place_is_better(rows: list[tuple[int, ...]], window: tuple[int, int], numbers: object, words: bool):
    bounds = np.array([(x, y, x + w, y + h) for x, y, w, h in rows], float).reshape(-1, 4)
    corner, free = place(bounds, window, [(0, 0), (30, 25)], numbers, words=words)
    assert (corner >= 0).all()
    assert (corner <= [30, 25]).all()
    # All numbers are whole, so that the places in the middle of each unit square are all there are.
    net = np.stack(np.meshgrid(np.arange(0, 30) + 0.5, np.arange(0, 25) + 0.5), -1).reshape(-1, 2)
    cut, whole = counts(bounds, window, net)
    wanted = whole > 0 if words else cut + whole == 0
    best = np.where(wanted, cut, cut + 1000).min()
    inner = np.floor(corner) + 0.5  # a hair from the border of its cell, the drawn place itself may count otherwise
    own_cut, own_whole = (int(part[0]) for part in counts(bounds, window, inner[None]))
    own_wanted = own_whole > 0 if words else own_cut + own_whole == 0
    assert (own_cut if own_wanted else own_cut + 1000) == best
    assert free == (best == 0)


def test_all_good_places_are_drawn_evenly():
    # A word of 10 in a window of 20: whole for corners 30 .. 40, in a room of 0 .. 80; at any height of 0 .. 4.
    rng = np.random.default_rng(0)
    corners = np.array([
        place([[40, 6, 50, 8]], (20, 10), [(0, 0), (80, 4)], rng.random(3), words=True)[0] for _ in range(800)
    ])  # fmt: skip
    for axis, (low, high) in enumerate([(30, 40), (0, 4)]):
        bins, _ = np.histogram(corners[:, axis], 4, (low, high))
        assert bins.sum() == 800
        assert bins.min() > 150
    # Without words: corners up to 20 and from 50 on, the second part half as wide again.
    corners = np.array([
        place([[40, 0, 50, 14]], (20, 10), [(0, 0), (80, 4)], rng.random(3), words=False)[0] for _ in range(800)
    ])  # fmt: skip
    assert not ((corners[:, 0] > 20) & (corners[:, 0] < 50)).any()
    assert 0.33 < (corners[:, 0] <= 20).mean() < 0.47


def test_as_few_as_can_be_are_cut():
    # Three columns with narrow gaps: a window of 25 that holds one cuts at least another.
    bounds = np.array([[0, 0, 18, 5], [20, 0, 38, 5], [40, 0, 58, 5]], float)
    for seed in range(50):
        corner, free = place(bounds, (25, 9), [(0, -4), (33, 0)], np.random.default_rng(seed).random(3), words=True)
        assert not free
        cut, whole = counts(bounds, (25, 9), corner[None])
        assert (cut.item(), whole.item()) == (1, 1)


@pytest.mark.parametrize("words", [False, True])
def test_a_room_of_one_place(words: bool):
    corner, free = place([[1, 1, 3, 3]], (10, 10), [(0, 0), (0, 0)], [0.9, 0.9, 0.9], words=words)
    assert np.abs(corner).max() <= 1e-5
    assert free == words
    corner, free = place([], (10, 10), [(-2.0, 5), (-2, 5)], [0.0, 0.5, 0.5], words=words)
    assert np.abs(corner - [-2, 5]).max() <= 1e-5
    assert free != words
