"""The kernel for shapes of words equals the plain forms, number by number but for the angle."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import matchloss
from matchloss._core import has_numba
from matchloss.encoders import EASTTargetEncoder
from matchloss.encoders._angles import turn_boxes
from matchloss.encoders._raster import central_cells
from matchloss.encoders._shrink import shrink_quads
from matchloss.encoders._words import FLAT, read_words
from matchloss.geometry import clockwise, crosses_itself, enclosing_rectangles, quad_area
from word_scenes import one_image, slanted, upright

pytestmark = pytest.mark.skipif(not has_numba(), reason="compares the kernel with the plain form")


def scenes() -> Iterator[tuple[str, Tensor]]:
    """Quads ``(1, N, 4, 2)``, all finite."""
    generator = torch.Generator().manual_seed(0)
    words = slanted(0, (400,), (200, 264)).quads[0]
    words = words[words.isfinite().all(-1).all(-1)][None]
    yield "words", words
    yield "whole numbers", words.round()
    yield "small", (words / 16).round()
    yield "tiny", words * 1e-4
    yield "large", words * 1e6
    # Repeated corners, lines, points, and areas that are equal.
    yield "on a grid", torch.randint(0, 4, (1, 2000, 4, 2), generator=generator).float()
    yield "any", torch.randn(1, 2000, 4, 2, generator=generator)
    yield "turned by 45 degrees", diagonal(generator)
    yield "along the axes", torch.tensor([[upright(8 * n, 3 * n, 40, 5 + 5 * n) for n in range(9)]]).float()
    yield "none", words[:, :0]


def diagonal(generator: torch.Generator) -> Tensor:
    """Rectangles at 45 degrees, where a folded angle changes its name, in each of the four directions of reading."""
    width, height = torch.randint(1, 50, (2, 500, 1), generator=generator).float()
    along = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])[torch.arange(500) % 4]
    right, down = width * along, height * torch.stack([-along[:, 1], along[:, 0]], -1)
    return 17 + torch.stack([0 * right, right, right + down, down], 1)[None]


SCENES = dict(scenes())
every_scene = pytest.mark.parametrize("quads", SCENES.values(), ids=SCENES.keys())


def measured(quads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same clockwise, area, shortest side, and whether each is a proper word."""
    from matchloss.kernels.word_shapes_cpu import measure

    turned, area, shortest = quads.clone(), torch.empty(quads.shape[:-2]), torch.empty(quads.shape[:-2])
    proper = torch.empty(quads.shape[:-2], dtype=torch.bool)
    flat = (part.reshape(-1).numpy() for part in (area, shortest, proper))
    measure(turned.view(-1, 4, 2).numpy(), np.float32(FLAT), *flat)
    return turned, area, shortest, proper


def shrunk(quads: Tensor, share: float) -> Tensor:
    from matchloss.kernels.word_shapes_cpu import shrink

    inner = quads.clone()
    shrink(inner.view(-1, 4, 2).numpy(), np.float32(share))
    return inner


def enclosed(quads: Tensor, *, folded: bool) -> Tensor:
    from matchloss.kernels.word_shapes_cpu import enclose

    boxes = torch.empty(*quads.shape[:-2], 5)
    enclose(quads.view(-1, 4, 2).numpy(), folded, boxes.view(-1, 5).numpy())
    return boxes


def cells_at_centers(quads: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    from matchloss.kernels.word_shapes_cpu import find_cells

    cells = torch.empty(quads.shape[:-2], dtype=torch.int64)
    find_cells(quads.view(-1, 4, 2).numpy(), *size, np.float32(stride), cells.view(-1).numpy())
    return cells


@every_scene
def test_measures(quads: Tensor) -> None:
    turned, area, shortest, proper = measured(quads)
    sides = (quads - quads.roll(-1, -2)).double().norm(dim=-1)
    flat = quad_area(quads).abs() <= FLAT * sides.amax(-1).float().square()
    assert torch.equal(turned, clockwise(quads))
    assert torch.equal(area, quad_area(quads).abs())
    torch.testing.assert_close(shortest, sides.amin(-1).float())
    assert torch.equal(proper, ~flat & (shortest > 0) & ~crosses_itself(quads))


@every_scene
def test_inner_parts_and_central_cells(quads: Tensor) -> None:
    for share in (0.0, 0.3, 0.45):
        torch.testing.assert_close(shrunk(quads, share), shrink_quads(quads, shrink=share), rtol=1e-6, atol=0)
    for stride, size in ((4, (50, 66)), (3, (20, 200))):
        assert torch.equal(cells_at_centers(quads, size, stride), central_cells(quads, *size, stride))


@every_scene
@pytest.mark.parametrize("rule", ["reading", "folded"])
def test_rectangles(quads: Tensor, rule: str) -> None:
    """The same of several, under the same name."""
    boxes, wanted = enclosed(quads, folded=rule == "folded"), turn_boxes(enclosing_rectangles(quads), rule)
    assert torch.equal(boxes[..., :4], wanted[..., :4])
    torch.testing.assert_close(boxes[..., 4], wanted[..., 4], rtol=0, atol=1e-6)


def test_values_without_bounds_go_nowhere() -> None:
    """Of words so large that none is proper, and of NaN, nothing is promised but that it ends."""
    quads = torch.tensor([upright(-3e38, -3e38, 6e38, 6e38), upright(0, 0, 3e22, 3e22), [[math.nan] * 2] * 4])
    assert not measured(quads)[3].any()
    assert cells_at_centers(quads, (8, 8), 4)[2] == -1
    assert enclosed(quads, folded=True).shape == (3, 5)
    assert shrunk(quads, 0.3).shape == quads.shape


def test_words_of_any_layout_and_dtype() -> None:
    """Any layout in memory, any numbers; given words are left alone."""
    scene = one_image(upright(8, 8, 60, 40), upright(60, 70, 60, 20))
    quads = scene.quads[0]
    for other in (quads.permute(2, 1, 0).contiguous().permute(2, 1, 0), quads.half(), quads.to(torch.int64)):
        given = other.clone()
        maps, wanted = (EASTTargetEncoder()([values], scene.ignore, scene.size) for values in (other, quads))
        assert all(torch.equal(one, another) for one, another in zip(maps, wanted, strict=True))
        assert torch.equal(other, given)


def lists() -> Iterator[tuple[str, list[Tensor]]]:
    """Words of a batch that differ in number, size and sense, with equal areas and corners that are not finite."""
    quads, _, _ = slanted(0, (40, 0, 7), (200, 264))
    yield "words", list(quads)
    spoilt = [image.clone() for image in quads]
    spoilt[0][::3, 1, 0], spoilt[2][0] = math.nan, -math.inf
    yield "not finite", spoilt
    yield "equal", [quads[0][:1].repeat(9, 1, 1), quads[0][:2].repeat(3, 1, 1).round()]
    yield "huge", [quads[0] * 1e36, quads[2] * 1e30]
    yield "small", [quads[0] * 0.1, quads[0].round()]
    yield "none", [quads[1]]


@pytest.mark.parametrize("quads", [words for _, words in lists()], ids=[name for name, _ in lists()])
def test_lists_are_padded_and_sorted_as_in_the_plain_form(quads: list[Tensor]) -> None:
    given = [image.clone() for image in quads]
    ignore = [torch.arange(len(image)) % 4 == 2 for image in quads]
    fast = read_words("here", quads, ignore, min_side=8)
    with matchloss.reference():
        plain = read_words("here", quads, ignore, min_side=8)
    for name, one, other in zip(fast._fields, fast, plain, strict=True):
        torch.testing.assert_close(
            one, other, rtol=1e-6, atol=0, equal_nan=True, msg=lambda text, name=name: f"{name}: {text}"
        )
    for image, before in zip(quads, given, strict=True):
        assert torch.equal(image.nan_to_num(), before.nan_to_num())


def test_the_kernel_is_taken_and_not_where_it_must_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from matchloss.kernels import word_lists_cpu

    calls = []

    def counted(*given: Any) -> tuple[Tensor, ...]:
        calls.append(given)
        return pad(*given)

    pad = word_lists_cpu.pad_words
    monkeypatch.setattr(word_lists_cpu, "pad_words", counted)
    scene = one_image(upright(8, 8, 60, 40))
    fast = read_words("here", scene.quads, scene.ignore, min_side=8)
    assert len(calls) == 1
    with matchloss.reference():
        plain = read_words("here", scene.quads, scene.ignore, min_side=8)
    read_words("here", [scene.quads[0].double()], scene.ignore, min_side=8)
    assert len(calls) == 1
    assert all(torch.equal(one, other) for one, other in zip(fast, plain, strict=True))
