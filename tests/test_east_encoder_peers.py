"""EASTTargetEncoder beside what argman/EAST and SakuraRiven/EAST do, written again from a description of either."""

import math

import numpy as np
import pytest
import torch

from matchloss.encoders import EASTTargetEncoder
from reference import text_maps as ref
from word_scenes import one_image, slanted_word, upright

SIZE = (96, 128)


def filled(polygon: np.ndarray, height: int, width: int) -> np.ndarray:
    """A polygon of whole numbers as drawing libraries fill it: with the pixels of its outline."""
    y, x = np.mgrid[:height, :width].astype(float)
    inside, near = np.ones((height, width), bool), np.zeros((height, width), bool)
    for k in range(4):
        (ax, ay), (bx, by) = polygon[k], polygon[(k + 1) % 4]
        ex, ey = bx - ax, by - ay
        inside &= ex * (y - ay) - ey * (x - ax) >= 0
        share = np.clip(((x - ax) * ex + (y - ay) * ey) / max(ex * ex + ey * ey, 1e-9), 0, 1)
        near |= np.hypot(x - ax - share * ex, y - ay - share * ey) <= 0.5
    return inside | near


def argman_cells(inner: np.ndarray) -> np.ndarray:
    """Filled in the image's own pixels, of which each fourth is taken."""
    return filled(np.trunc(inner), *SIZE)[::4, ::4]


def sakura_cells(inner: np.ndarray) -> np.ndarray:
    """Corners rounded to cells, and filled there."""
    return filled(np.around(inner / 4), SIZE[0] // 4, SIZE[1] // 4)


def degree_search(quad: np.ndarray) -> tuple[float, float]:
    """SakuraRiven's angle and area: of the ten smallest rectangles in whole degrees that whose corners fit best."""
    found = []
    for degrees in range(-90, 90):
        angle = math.radians(degrees)
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        points = (quad - quad[0]) @ turn.T  # a word that rises by so much lies flat
        (left, top), (right, bottom) = points.min(0), points.max(0)
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
        found.append(((right - left) * (bottom - top), np.hypot(*(points - corners).T).sum(), angle))
    ten = sorted(found)[:10]
    area, _, angle = min(ten, key=lambda one: one[1])
    return angle, area


def draw(*quads: list[list[float]], encoder: EASTTargetEncoder, ignore: tuple[int, ...] = ()):
    return encoder(*one_image(*quads, ignore=ignore, size=SIZE))


@pytest.mark.parametrize("height", [8, 12, 24])
def test_rasters_of_whole_numbers_make_small_words_larger(height: int) -> None:
    """Cells over what the shrunk area holds: ours are right at every height, theirs are not."""
    rng = np.random.default_rng(height)
    area, ours, argman, sakura = 0.0, 0.0, 0, 0
    for _ in range(60):
        quad = slanted_word(rng, (1, 1), (height, height)) + np.array([64, 48]) + rng.uniform(-4, 4, 2)
        inner = ref.shrunk(quad, 0.3)
        area += abs(ref.area(inner)) / 16
        ours += float(draw(quad.tolist(), encoder=EASTTargetEncoder.paper()).score.sum())
        argman, sakura = argman + argman_cells(inner).sum(), sakura + sakura_cells(inner).sum()
    assert ours / area == pytest.approx(1, abs=0.1)
    assert argman / area > {8: 1.25, 12: 1.15, 24: 1.05}[height]
    assert sakura / area > {8: 2.0, 12: 1.7, 24: 1.3}[height]


def test_sakura_adds_up_where_words_overlap_and_we_have_one_owner() -> None:
    """Of 60 and 80 pixels height, so that top and bottom add up to 140 there."""
    words = upright(10, 10, 100, 60), upright(12, 4, 110, 80)
    total = np.zeros((24, 32))
    for x, y, width, height in ((10, 10, 100, 60), (12, 4, 110, 80)):
        total += height * sakura_cells(ref.shrunk(np.array(upright(x, y, width, height), float), 0.3))
    assert total.max() == 140
    maps = draw(*words, encoder=EASTTargetEncoder.sakura())
    heights = (maps.geometry[0, 0] + maps.geometry[0, 1])[maps.score[0, 0] > 0]
    assert set(heights.round().tolist()) == {60, 80}


def test_whole_degrees_miss_the_smallest_rectangle() -> None:
    """Both agree on the sign, and on what is up; theirs is never smaller, and off by degrees at times."""
    rng = np.random.default_rng(3)
    off, larger = [], []
    for _ in range(60):
        quad = slanted_word(rng, (1, 1), (16, 30)) + np.array([64, 48])
        maps = draw(quad.tolist(), encoder=EASTTargetEncoder.sakura())
        row, column = (maps.score[0, 0] > 0).nonzero()[0].tolist()
        top, bottom, left, right, angle = maps.geometry[0, :, row, column].tolist()
        theirs, area = degree_search(quad)
        off.append(abs(math.degrees(theirs - angle)))
        larger.append(area / ((top + bottom) * (left + right)))
    assert max(off) < 15
    assert np.median(off) < 2
    assert max(off) > 1
    assert min(larger) > 1 - 1e-4
    assert max(larger) > 1.01


def test_argman_counts_words_in_a_byte() -> None:
    words = [upright(16 * (n % 20) + 1, 16 * (n // 20) + 1, 14, 12) for n in range(300)]
    numbers = np.zeros((240, 320), np.uint8)
    for n, word in enumerate(words):
        (left, top), _, (right, bottom), _ = np.trunc(ref.shrunk(np.array(word), 0.3)).astype(int)
        numbers[top : bottom + 1, left : right + 1] = (n + 1) % 256
    assert len(np.unique(numbers[numbers > 0])) < 256
    maps = EASTTargetEncoder.argman()(*one_image(*words, size=(240, 320)))
    assert len(maps.word_index.unique()) == 301


def test_argman_lets_the_last_word_win_and_unreadable_ones_hide_others() -> None:
    small, large = upright(40, 40, 48, 20), upright(4, 4, 120, 88)
    last = np.zeros((24, 32), int)
    for n, word in enumerate((small, large)):
        last[argman_cells(ref.shrunk(np.array(word), 0.3))] = n + 1
    assert 1 not in last  # the small word is lost
    maps = draw(small, large, encoder=EASTTargetEncoder.argman())
    assert {0, 1} <= set(maps.word_index.unique().tolist())
    hidden = filled(np.trunc(np.array(large)), *SIZE)[::4, ::4]
    assert hidden[argman_cells(ref.shrunk(np.array(small), 0.3))].all()  # out of use there
    maps = draw(small, large, encoder=EASTTargetEncoder.argman(), ignore=(1,))
    assert maps.mask[maps.score > 0].all()
    assert maps.score.any()


def test_presets_are_their_options() -> None:
    """Argman's bound for small words, its folded angles; SakuraRiven's order."""
    eight = upright(20, 20, 60, 9)
    assert not draw(eight, encoder=EASTTargetEncoder.argman()).score.any()
    assert draw(eight, encoder=EASTTargetEncoder.sakura()).score.any()
    on_end = [[60, 80], [60, 20], [80, 20], [80, 80]]  # read from below: 90 degrees to the left
    argman = draw(on_end, encoder=EASTTargetEncoder.argman()).geometry[0, :, 12, 17].tolist()
    sakura = draw(on_end, encoder=EASTTargetEncoder.sakura()).geometry[0, :, 12, 17].tolist()
    assert argman == pytest.approx([28, 12, 32, 8, 0], abs=1e-4)
    # 90 degrees are -90, that is on its head: what is read as the top is on the right.
    assert sakura == pytest.approx([12, 8, 28, 32, -math.pi / 2], abs=1e-4)
    assert torch.equal(
        draw(eight, encoder=EASTTargetEncoder.paper()).score, draw(eight, encoder=EASTTargetEncoder.sakura()).score
    )
