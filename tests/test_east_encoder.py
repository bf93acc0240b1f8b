"""EASTTargetEncoder: its maps equal the reference's, and say what they are to say in the cases that go wrong."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

import matchloss
from host_reads import NoHostReads
from matchloss.encoders import EASTTargetEncoder
from matchloss.encoders._shrink import shrink_quads
from matchloss.geometry import (
    clockwise,
    enclosing_rectangles,
    is_convex,
    quad_area,
    rotated_corners,
    rotated_from_edges,
)
from matchloss.types import EASTMaps
from reference import text_maps as ref
from word_scenes import Scene, one_image, photos, slanted, upright

ENCODERS = (
    EASTTargetEncoder(),
    EASTTargetEncoder.paper(),
    EASTTargetEncoder.argman(),
    EASTTargetEncoder.sakura(),
    EASTTargetEncoder(geometry="quad", stride=3, shrink=0.2, min_side=12),
)
SIZE = (64, 90)


def draw(scene: Scene, encoder: EASTTargetEncoder = ENCODERS[0]) -> EASTMaps:
    return encoder(*scene)


def options(encoder: EASTTargetEncoder) -> dict:
    return {name: getattr(encoder, name) for name in encoder.__dataclass_fields__}


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_equals_the_reference(encoder: EASTTargetEncoder, seed: int) -> None:
    scene = slanted(seed, (5, 0, 9), SIZE)
    maps = encoder([quads.double() for quads in scene.quads], scene.ignore, SIZE)
    for image, (quads, flags) in enumerate(zip(scene.quads, scene.ignore, strict=True)):
        finite = quads.isfinite().all(-1).all(-1)
        where = finite.nonzero()[:, 0].numpy()
        wanted = ref.east(quads[finite].double().numpy(), flags[finite].numpy(), SIZE, **options(encoder))
        score, geometry, mask, owner, shortest = wanted
        np.testing.assert_array_equal(maps.score[image, 0].numpy(), score)
        np.testing.assert_array_equal(maps.mask[image, 0].numpy(), mask)
        np.testing.assert_array_equal(maps.word_index[image].numpy(), np.append(where, -1)[owner])
        np.testing.assert_allclose(maps.shortest_edge[image, 0].numpy(), shortest, atol=1e-9)
        np.testing.assert_allclose(maps.geometry[image].movedim(0, -1).numpy(), geometry, atol=1e-7)


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_kernel_equals_plain(encoder: EASTTargetEncoder, seed: int) -> None:
    same_as_plain(encoder, slanted(seed, (40, 0, 90), (200, 264)))


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
def test_kernel_equals_plain_on_whole_numbers(encoder: EASTTargetEncoder) -> None:
    """Sides of words fall on sampling points; with the photos' own numbers too."""
    scene = slanted(5, (60, 60), (200, 264))
    same_as_plain(encoder, scene._replace(quads=[quads.round() for quads in scene.quads]))
    same_as_plain(encoder, one_image(*(upright(8 * n, 3 * n, 40, 5 + 5 * n) for n in range(9))))
    same_as_plain(encoder, photos(3))


def same_as_plain(encoder: EASTTargetEncoder, scene: Scene) -> None:
    fast = draw(scene, encoder)
    with matchloss.reference():
        plain = draw(scene, encoder)
    for name, one, other in zip(EASTMaps._fields, fast, plain, strict=True):
        assert one.dtype == other.dtype
        assert one.is_contiguous()
        if name == "geometry":
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)
        else:
            assert torch.equal(one, other), name


@pytest.mark.parametrize("rule", ["reading", "folded"])
@pytest.mark.parametrize("scene", ["synthetic", "photos"])
def test_every_cell_says_the_rectangle_of_its_word(scene: str, rule: str) -> None:
    words = photos(40) if scene == "photos" else slanted(1, (30, 30), (512, 512))
    maps = draw(words, EASTTargetEncoder(angle=rule))
    limit = math.pi / 2 if rule == "reading" else math.pi / 4
    for image, (quads, score) in enumerate(zip(words.quads, maps.score[:, 0] > 0, strict=True)):
        if not score.any():
            continue
        rows, columns = score.nonzero().unbind(1)
        points = torch.stack([columns, rows], 1) * 4.0
        edges, angles = maps.geometry[image, :4, rows, columns].T, maps.geometry[image, 4, rows, columns]
        assert edges.min() >= -1e-3
        assert angles.abs().max() <= limit + 1e-6
        found = rotated_corners(rotated_from_edges(points, edges, angles))
        wanted = rotated_corners(enclosing_rectangles(clockwise(quads)[maps.word_index[image, rows, columns]]))
        # Which corner is the first one is the angle's rule.
        far = torch.stack([(found - wanted.roll(turn, -2)).abs().amax((-2, -1)) for turn in range(4)])
        assert far.amin(0).max() < 2e-3
        if rule == "reading":
            assert torch.minimum(far[0], far[2]).max() < 2e-3


@pytest.mark.parametrize("scene", ["synthetic", "photos"])
def test_as_many_cells_as_the_shrunk_area_holds(scene: str) -> None:
    """Over many words, that is: the points miss and hit by chance. Overlaps are left out by taking words one by one."""
    words = photos(30) if scene == "photos" else slanted(2, (150,), (512, 512), heights=(10, 30))
    quads = torch.cat(words.quads)
    proper = quads.isfinite().all(-1).all(-1) & (quads >= 0).all(-1).all(-1) & (quads[..., 1] < words.size[0]).all(-1)
    proper = proper & (quads[..., 0] < words.size[1]).all(-1) & is_convex(quads) & (quad_area(quads).abs() > 1)
    quads = quads[proper][:, None]
    maps = EASTTargetEncoder.paper()(list(quads), [torch.tensor([False])] * len(quads), words.size)
    areas = [ref.area(ref.shrunk(quad[0].double().numpy(), 0.3)) for quad in clockwise(quads)]
    assert maps.score.sum().item() == pytest.approx(np.abs(areas).sum() / 16, rel=0.03)


def test_shrinking_follows_the_paper() -> None:
    """Longer pair first; by a third of the shorter of the corner's own edges."""
    word = torch.tensor(upright(0.0, 0.0, 100.0, 20.0))
    inner = shrink_quads(word, shrink=0.3)
    torch.testing.assert_close(inner, torch.tensor([[6.0, 6], [94, 6], [94, 14], [6, 14]]))
    torch.testing.assert_close(shrink_quads(word.roll(1, 0), shrink=0.3), inner.roll(1, 0))  # the corners in turn
    skewed = torch.tensor([[0.0, 0.0], [80.0, 10.0], [90.0, 60.0], [5.0, 30.0]], dtype=torch.float64)
    for turn in range(4):
        quad = skewed.roll(turn, 0)
        np.testing.assert_allclose(shrink_quads(quad, shrink=0.3).numpy(), ref.shrunk(quad.numpy(), 0.3), atol=1e-12)


def test_the_smallest_word_has_the_cell_whatever_the_order() -> None:
    small, large = upright(40, 40, 40, 16), upright(8, 8, 112, 80)
    for quads, small_first in (((small, large), True), ((large, small), False)):
        index = draw(one_image(*quads)).word_index[0]
        assert index[12, 15] == (0 if small_first else 1)
        assert index[8, 15] == (1 if small_first else 0)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_order_of_words_changes_the_index_alone(seed: int) -> None:
    scene = slanted(seed, (25,), SIZE)
    turn = torch.from_numpy(np.random.default_rng(seed).permutation(25))
    maps, other = draw(scene), draw(scene._replace(quads=[scene.quads[0][turn]], ignore=[scene.ignore[0][turn]]))
    for name in set(EASTMaps._fields) - {"word_index"}:
        assert torch.equal(getattr(maps, name), getattr(other, name)), name
    back = torch.where(other.word_index < 0, -1, turn[other.word_index.clamp(min=0)])
    assert torch.equal(maps.word_index, back)


def test_batch_equals_images_one_by_one() -> None:
    scene = slanted(3, (20, 0, 5), SIZE)
    maps = draw(scene)
    for image in range(3):
        alone = draw(Scene(scene.quads[image : image + 1], scene.ignore[image : image + 1], SIZE))
        assert all(torch.equal(part[image], own[0]) for part, own in zip(maps, alone, strict=True))


def test_five_hundred_words_each_have_their_number() -> None:
    quads = [upright(24 * (n % 25) + 2, 16 * (n // 25) + 2, 20, 12) for n in range(500)]
    index = draw(one_image(*quads, size=(320, 600))).word_index
    assert set(index.unique().tolist()) == set(range(-1, 500))


def test_images_without_words_and_with_unreadable_ones_only() -> None:
    maps = draw(one_image())
    assert maps.mask.all()
    assert not maps.score.any()
    maps = draw(one_image(upright(8, 8, 40, 20), ignore=(0,)))
    assert not maps.score.any()
    assert maps.mask[0, 0].logical_not().sum() == 10 * 5
    assert not maps.geometry.any()
    assert (maps.word_index == -1).all()


def test_unreadable_words_leave_the_cells_of_readable_ones_in_use() -> None:
    maps = draw(one_image(upright(8, 8, 60, 40), upright(0, 0, 128, 96), ignore=(1,)))
    assert maps.score.sum() > 0
    assert torch.equal(maps.mask, maps.score > 0)


def test_words_that_are_text_nowhere_do_not_count_as_background() -> None:
    tiny = draw(one_image(upright(8, 8, 40, 7)))
    assert not tiny.score.any()
    assert not tiny.mask[0, 0, 2:4, 2:12].any()
    between = draw(one_image(upright(1, 1.5, 40, 8)), EASTTargetEncoder.paper())  # its shrunk rows: 3.9 to 7.1
    assert between.score.sum() > 0
    between = draw(one_image(upright(1, 2.0, 40, 8)), EASTTargetEncoder.paper())  # 4.4 to 7.6
    assert not between.score.any()
    assert not between.mask[0, 0, 1:3, 1:10].any()
    hidden = draw(one_image(upright(8, 8, 40, 20), upright(8, 8, 41, 20)))
    assert set(hidden.word_index.unique().tolist()) == {-1, 0}
    assert not hidden.mask[0, 0, 2, 2:12].any()
    assert hidden.mask[hidden.score > 0].all()


def test_a_word_between_the_points_has_the_cell_at_its_centre() -> None:
    scene = one_image(upright(1, 2.0, 40, 8))
    maps = draw(scene)
    (cell,) = (maps.score[0, 0] > 0).nonzero().tolist()
    assert cell == [2, 5]  # of (21, 6): row 6 / 4 = 1.5 goes to the even one
    assert maps.geometry[0, :4, 2, 5].tolist() == [6, 21, 2, 19]
    beside = draw(one_image(upright(1, 1, 40, 2)), EASTTargetEncoder(min_side=0))
    assert not beside.score.any()  # no point in it at all


def test_top_is_where_reading_says_or_where_the_screen_does() -> None:
    """A word that rises steeply, by 60 degrees, and one on its head."""
    up = torch.tensor([math.cos(math.pi / 3), -math.sin(math.pi / 3)])
    down = torch.tensor([-up[1], up[0]])
    corners = torch.stack([-30 * up - 10 * down, 30 * up - 10 * down, 30 * up + 10 * down, -30 * up + 10 * down])
    steep = Scene([(corners + torch.tensor([64.0, 48.0]))[None]], [torch.tensor([False])], (96, 128))
    read, folded = draw(steep).geometry[0, :, 12, 16], draw(steep, EASTTargetEncoder.argman()).geometry[0, :, 12, 16]
    assert read.tolist() == pytest.approx([10, 30, 10, 30, math.pi / 3], abs=1e-4)
    assert folded.tolist() == pytest.approx([30, 10, 30, 10, -math.pi / 6], abs=1e-4)
    head = draw(one_image([[100, 60], [20, 60], [20, 30], [100, 30]])).geometry[0, :, 12, 16]
    assert head.tolist() == pytest.approx([18, 36, 12, 44, 0], abs=1e-4)
    sakura = draw(one_image(upright(20, 30, 80, 30)), EASTTargetEncoder.sakura()).geometry[0, :, 12, 16]
    assert sakura.tolist() == pytest.approx([18, 12, 44, 36, 0], abs=1e-4)


def test_offsets_lead_to_the_corners_as_read() -> None:
    word = [[10.0, 20.0], [90.0, 12.0], [95.0, 40.0], [12.0, 50.0]]
    maps = draw(one_image(word), EASTTargetEncoder(geometry="quad"))
    assert (maps.geometry[0, :, 8, 12].reshape(4, 2) + torch.tensor([48.0, 32.0])).tolist() == word
    other_way = draw(one_image([word[k] for k in (0, 3, 2, 1)]), EASTTargetEncoder(geometry="quad"))
    assert torch.equal(other_way.geometry, maps.geometry)


@pytest.mark.parametrize("kind", ["crossed", "flat", "point", "nan", "huge", "far"])
def test_broken_words_break_nothing(kind: str) -> None:
    quads = {
        "crossed": [[10, 10], [90, 60], [90, 10], [10, 60]],
        "flat": [[10, 10], [50, 10], [90, 10], [60, 10]],
        "point": [[10, 10]] * 4,
        "nan": [[10, 10], [math.nan, 10], [90, 60], [10, 60]],
        "huge": [[-3e38, -3e38], [3e38, -3e38], [3e38, 3e38], [-3e38, 3e38]],
        "far": upright(5000, 5000, 100, 30),
    }
    scene = one_image(quads[kind], upright(60, 70, 60, 20))
    same_as_plain(ENCODERS[0], scene)
    maps = draw(scene)
    alone = draw(one_image(upright(60, 70, 60, 20)))
    assert torch.equal(maps.geometry, alone.geometry)
    assert torch.equal(maps.mask, alone.mask) == (kind not in ("crossed", "huge"))
    if kind == "crossed":
        assert not maps.mask[0, 0, 8, 5]
        assert not maps.mask[0, 0, 8, 20]
        assert maps.mask[0, 0, 5, 12]  # above where they cross


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.float64])
def test_any_dtype(dtype: torch.dtype) -> None:
    scene = one_image(upright(8, 8, 60, 40))
    maps = EASTTargetEncoder()([scene.quads[0].to(dtype)], scene.ignore, scene.size)
    wanted = torch.float64 if dtype == torch.float64 else torch.float32
    assert maps.score.dtype == maps.geometry.dtype == maps.shortest_edge.dtype == wanted
    assert torch.equal(maps.geometry.float(), draw(scene).geometry)


def test_traces_and_reads_nothing_on_the_host() -> None:
    scene, encoder = slanted(4, (6, 3), SIZE), EASTTargetEncoder()
    with NoHostReads(), matchloss.reference():
        wanted = encoder(*scene)
    compiled = torch.compile(lambda quads, ignore: encoder(quads, ignore, SIZE), backend="aot_eager", fullgraph=True)
    maps = compiled(scene.quads, scene.ignore)
    assert all(torch.equal(one, other) for one, other in zip(maps, wanted, strict=True))


def test_memory_does_not_grow_with_the_number_of_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of one word give the same maps as all words at once."""
    scene = slanted(6, (30,), SIZE)
    with matchloss.reference():
        maps = draw(scene)
        monkeypatch.setattr("matchloss.geometry.regions.PAIRS_AT_ONCE", 1)
        assert all(torch.equal(one, other) for one, other in zip(maps, draw(scene), strict=True))


def quads(*shape: int) -> list[Tensor]:
    return [torch.zeros(shape)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: EASTTargetEncoder(stride=0), "expected stride to be a positive integer, got 0"),
        (lambda: EASTTargetEncoder(shrink=0.5), "expected 0 <= shrink < 0.5, got 0.5"),
        (lambda: EASTTargetEncoder(geometry="box"), "expected geometry to be one of 'rbox', 'quad', got 'box'"),
        (lambda: EASTTargetEncoder(distance_order="ltrb"), "expected distance_order to be one of"),
        (lambda: EASTTargetEncoder(angle="free"), "expected angle to be one of 'reading', 'folded', got 'free'"),
        (lambda: EASTTargetEncoder(min_side=-1), "expected min_side >= 0"),
        (lambda: EASTTargetEncoder()([], [], (8, 8)), "one at least, got 0 and 0"),
        (lambda: EASTTargetEncoder()(quads(2, 8), [torch.zeros(2, dtype=torch.bool)], (8, 8)), r"image 0: .*\(2, 8\)"),
        (
            lambda: EASTTargetEncoder()(quads(2, 4, 2), [torch.zeros(3, dtype=torch.bool)], (8, 8)),
            r"\(2,\), got \(3,\)",
        ),
        (lambda: EASTTargetEncoder()(quads(2, 4, 2), [torch.zeros(2)], (8, 8)), "dtype bool"),
        (lambda: EASTTargetEncoder()(quads(0, 4, 2), [torch.zeros(0, dtype=torch.bool)], (8, 0)), r"size \(H, W\)"),
    ],
)
def test_inputs_are_checked(call, message: str) -> None:
    with pytest.raises(ValueError, match=f"EASTTargetEncoder: .*{message}"):
        call()
