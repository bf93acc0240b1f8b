"""Augmentation with boxes: they stay on their objects, whatever is done to the image."""

import time
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from box_folders import SHARED, needs_shared
from matchloss.recipes.augment import normalize
from matchloss.recipes.augment_boxes import Scene, _turn, augment_boxes, letterbox, measure
from matchloss.recipes.data import BoxFolder, BoxSample

PLAIN = {"scale": (1.0, 1.0), "mosaic": 0.0, "flip": False, "color": 0.0}
COLORS = torch.tensor([[250, 10, 10], [10, 250, 10], [10, 10, 250], [240, 240, 10], [10, 240, 240]], dtype=torch.uint8)


def sample(height: int, width: int, seed: int = 0, many: int = 5) -> BoxSample:
    """Bright rectangles on grey that do not overlap, each of the colour that its label names."""
    rng = np.random.default_rng(seed)
    image = torch.full((3, height, width), 100, dtype=torch.uint8)
    boxes, labels = [], []
    step = width // many
    for label in range(many):
        x1 = label * step + int(rng.integers(0, step // 3))
        x2 = x1 + int(rng.integers(step // 3, step // 2))
        y1 = int(rng.integers(0, height // 2))
        y2 = y1 + int(rng.integers(height // 4, height // 2))
        image[:, y1:y2, x1:x2] = COLORS[label][:, None, None]
        boxes.append([x1, y1, x2, y2])
        labels.append(label)
    flags = torch.tensor([label == 3 for label in labels])
    return BoxSample(image, torch.tensor(boxes).float(), torch.tensor(labels), flags, f"{seed}")


FOUR = [sample(90, 120, seed) for seed in range(4)]


def mask_of(scene: Scene, label: int, source: BoxSample) -> Tensor:
    """Where the view shows the colour of a label."""
    mean, deviation = measure(source.image)
    color = (COLORS[label].float() - mean) / deviation
    return ((scene.image - color[:, None, None]).abs() < 0.35).all(0)


def edges(mask: Tensor) -> Tensor:
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    return torch.stack([columns[0, 0], rows[0, 0], columns[-1, 0] + 1, rows[-1, 0] + 1]).float()


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (33, 57), (1, 1), (1, 9)])
@pytest.mark.parametrize("options", [{}, {"turn": True, "mosaic": 1.0}, {"scale": (0.1, 10.0), "turn": True}])
def test_shapes_types_and_purity(size: tuple[int, int], options: dict[str, object]):
    before = [BoxSample(*(part.clone() for part in one[:4]), one.name) for one in FOUR]
    torch.manual_seed(3)
    state = torch.get_rng_state()
    for seed in range(15):
        scene = augment_boxes(FOUR, seed % 4, np.random.default_rng(seed), size=size, **options)
        assert (scene.image.dtype, scene.image.shape) == (torch.float32, (3, *size))
        assert (scene.boxes.dtype, scene.labels.dtype, scene.ignore.dtype) == (torch.float32, torch.int64, torch.bool)
        assert scene.boxes.shape == (len(scene.labels), 4) == (len(scene.ignore), 4)
        assert scene.image.isfinite().all()
        assert scene.image.is_contiguous()
        again = augment_boxes(FOUR, seed % 4, np.random.default_rng(seed), size=size, **options)
        assert all(torch.equal(one, two) for one, two in zip(scene, again, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    for one, two in zip(FOUR, before, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one[:4], two[:4], strict=True))


def test_options_do_not_move_the_random_numbers():
    options = [PLAIN, {}, {"mosaic": 1.0}, {"turn": True}, {"color": 0.0, "scale": (0.5, 2.0)}]
    after = []
    for choice in options:
        rng = np.random.default_rng(7)
        augment_boxes(FOUR, 1, rng, size=(40, 60), **choice)
        after.append(rng.random())
    assert len(set(after)) == 1
    for seed in range(10):
        first = augment_boxes(FOUR, 0, np.random.default_rng(seed), size=(64, 96), color=0.0)
        second = augment_boxes(FOUR, 0, np.random.default_rng(seed), size=(64, 96), color=1.0)
        assert torch.equal(first.boxes, second.boxes)
        assert not torch.equal(first.image, second.image)


@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_boxes_stay_on_their_objects(turn: bool, mosaic: float):
    source = sample(180, 240)
    seen = 0
    for seed in range(60):
        scene = augment_boxes([source], 0, np.random.default_rng(seed), size=(200, 260), mosaic=mosaic, turn=turn,
                              color=0.0)  # fmt: skip
        covered = torch.zeros(scene.image.shape[1:], dtype=torch.bool)
        for box, label in zip(scene.boxes, scene.labels.tolist(), strict=True):
            x1, y1, x2, y2 = box.tolist()
            rows, columns = ((int(np.ceil(low)) + 1, int(high) - 1) for low, high in ((y1, y2), (x1, x2)))
            inner = slice(rows[0], max(rows)), slice(columns[0], max(columns))
            mask = mask_of(scene, label, source)
            assert mask[inner].all()
            seen += mask[inner].numel() > 0
            covered[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = True
        for label in range(5):  # and no object without a box, but for the thinnest rim
            assert (mask_of(scene, label, source) & ~covered).sum() < 8
    assert seen > 100


@pytest.mark.parametrize("zoom", [0.8, 1.0, 1.3])
def test_boxes_have_the_edges_of_their_objects(zoom: float):
    source = sample(180, 240)
    errors = []
    for seed in range(20):
        scene = augment_boxes(
            [source], 0, np.random.default_rng(seed), size=(180, 240), **PLAIN | {"scale": (zoom, zoom)}
        )
        for box, label, ignore in zip(scene.boxes, scene.labels.tolist(), scene.ignore, strict=True):
            if not ignore:
                errors.append(edges(mask_of(scene, label, source)) - box)
    errors = torch.stack(errors)
    assert errors.abs().max() <= 1.0 + 1e-4  # a mixed pixel at the edge
    shifts = (errors[:, :2] + errors[:, 2:]) / 2  # mixed pixels make the rectangle smaller, on both sides alike
    assert shifts.mean(0).abs().max() < 0.2


def test_zoom_one_is_the_scale_of_inference():
    source = sample(180, 240)
    for size in ((90, 120), (45, 120), (120, 90), (100, 60)):
        whole = letterbox(source.image, long_side=max(size), multiple=1)
        for seed in range(5):
            scene = augment_boxes([source], 0, np.random.default_rng(seed), size=size, **PLAIN)
            for box, label, ignore in zip(scene.boxes, scene.labels, scene.ignore, strict=True):
                inside = (box > 0).all() and box[2] < size[1] and box[3] < size[0]
                if inside and not ignore:
                    expected = source.boxes[int(label)] * whole.scale
                    torch.testing.assert_close(box[2:] - box[:2], expected[2:] - expected[:2], rtol=0.02, atol=0)


def test_cut_boxes_become_ignored_and_lost_ones_vanish():
    image = torch.randint(0, 256, (3, 40, 40), dtype=torch.uint8)
    source = BoxSample(image, torch.tensor([[0.0, 10, 20, 30]]), torch.tensor([2]), torch.tensor([False]), "")
    seen: Counter[str] = Counter()
    for seed in range(300):
        scene = augment_boxes([source], 0, np.random.default_rng(seed), size=(40, 40), **PLAIN | {"scale": (2.0, 2.0)})
        # At zoom 2 the view is 20x20 of the image: what it shows of the box follows from the box alone.
        if len(scene.boxes) == 0:
            seen["gone"] += 1
            continue
        visible = float((scene.boxes[0, 2:] - scene.boxes[0, :2]).prod()) / (40 * 40)
        assert bool(scene.ignore[0]) == (visible < 0.2)
        assert scene.labels.tolist() == [2]
        seen["ignored" if scene.ignore[0] else "kept"] += 1
    assert min(seen.values()) >= 10
    assert len(seen) == 3
    flagged = source._replace(ignore=torch.tensor([True]))
    scenes = [augment_boxes([flagged], 0, np.random.default_rng(seed), size=(40, 40)) for seed in range(20)]
    assert all(scene.ignore.all() for scene in scenes)


def test_boxes_thinner_than_a_pixel_are_ignored():
    image = torch.randint(0, 256, (3, 400, 400), dtype=torch.uint8)
    thin = torch.tensor([[100.0, 100, 105, 300], [200, 100, 250, 300]])
    source = BoxSample(image, thin, torch.tensor([0, 1]), torch.tensor([False, False]), "")
    scene = augment_boxes([source], 0, np.random.default_rng(0), size=(40, 40), **PLAIN)
    assert scene.ignore.tolist() == [True, False]


def test_padding_is_neutral_and_jitter_leaves_it_so():
    source = sample(60, 120)
    for seed in range(20):
        scene = augment_boxes([source], 0, np.random.default_rng(seed), size=(120, 120), **PLAIN | {"color": 2.0})
        padding = (scene.image == 0).all(0).all(1)  # rows
        assert int(padding.sum()) == 60
        first = int((~padding).nonzero()[0])
        assert not padding[first : first + 60].any()


def test_plain_view_is_the_normalised_image():
    source = sample(60, 120)
    scene = augment_boxes([source], 0, np.random.default_rng(0), size=(60, 120), **PLAIN)
    torch.testing.assert_close(scene.image, normalize(source.image), rtol=1e-4, atol=1e-4)
    assert torch.equal(scene.boxes, source.boxes)
    assert torch.equal(scene.ignore, source.ignore)


def test_flip_halves_and_all_eight_symmetries():
    image = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
    source = BoxSample(image, torch.tensor([[1.0, 2, 4, 8]]), torch.tensor([0]), torch.tensor([False]), "")
    plain = normalize(image)
    views = {
        "flip": [plain, plain.flip(2)],
        "turn": [view.rot90(k, (1, 2)) for k in range(4) for view in (plain, plain.flip(2))],
    }
    for option, expected in views.items():
        counts: Counter[int] = Counter()
        boxes = set()
        for seed in range(400):
            scene = augment_boxes([source], 0, np.random.default_rng(seed), size=(8, 8), **PLAIN | {option: True})
            matches = [k for k, view in enumerate(expected) if torch.allclose(scene.image, view, atol=1e-4)]
            assert len(matches) == 1
            counts[matches[0]] += 1
            boxes.add(tuple(scene.boxes[0].tolist()))
        assert len(counts) == len(boxes) == len(expected)
        assert min(counts.values()) > 0.6 * 400 / len(expected)


corner, side = st.integers(0, 20), st.integers(1, 11)
box = st.tuples(corner, corner, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


@given(st.integers(31, 50), st.integers(31, 50), st.lists(box, max_size=4), st.integers(0, 3), st.booleans())
@settings(max_examples=100, deadline=None)
def test_the_turns_are_a_group(height: int, width: int, rows: list[tuple[int, ...]], quarter: int, mirror: bool):
    boxes = torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
    labels = torch.arange(len(rows))
    image = torch.zeros(3, height, width)
    scene = Scene(image, boxes, labels, labels > 0)
    # Each box painted, turned with the image, and looked up again.
    turned = _turn(scene, quarter, mirror=mirror)
    for found, (x1, y1, x2, y2) in zip(turned.boxes, rows, strict=True):
        painted = torch.zeros(3, height, width)
        painted[:, y1:y2, x1:x2] = 1
        shown = _turn(scene._replace(image=painted), quarter, mirror=mirror).image[0] > 0
        assert torch.equal(edges(shown), found)
    # The inverse: a mirror image undoes itself, a turn is undone by the rest of the circle.
    back = _turn(turned, quarter, mirror=True) if mirror else _turn(turned, -quarter % 4, mirror=False)
    assert torch.equal(back.boxes, boxes)
    assert back.image.shape == image.shape


@given(st.integers(0, 10**6), st.integers(1, 80), st.integers(1, 80), st.floats(0, 1), st.booleans())
@settings(max_examples=60, deadline=None)
def test_boxes_lie_inside(seed: int, height: int, width: int, mosaic: float, turn: bool):
    scene = augment_boxes(FOUR, seed % 4, np.random.default_rng(seed), size=(height, width), mosaic=mosaic, turn=turn,
                          scale=(0.3, 3.0))  # fmt: skip
    assert (scene.boxes >= 0).all()
    assert (scene.boxes <= torch.tensor([width, height, width, height])).all()
    assert (scene.boxes[:, 2:] > scene.boxes[:, :2]).all()
    sides = scene.boxes[:, 2:] - scene.boxes[:, :2]
    assert (sides[~scene.ignore] >= 1).all()


def test_a_mosaic_shows_four_samples():
    plain = [
        BoxSample(torch.full((3, 50, 50), 7, dtype=torch.uint8), torch.tensor([[0.0, 0, 50, 50]]), torch.tensor([i]),
                  torch.tensor([False]), str(i))
        for i in range(5)
    ]  # fmt: skip
    others: Counter[int] = Counter()
    mosaics = 0
    for seed in range(300):
        scene = augment_boxes(plain, 4, np.random.default_rng(seed), size=(50, 50), mosaic=0.4, scale=(1.0, 1.0))
        labels = scene.labels.tolist()
        assert labels[0] == 4
        others.update(labels[1:])
        mosaics += len(labels) == 4
        if len(labels) == 4:  # the quarters share the view
            sides = scene.boxes[:, 2:] - scene.boxes[:, :2]
            assert float(sides.prod(1).sum()) == 2500
            assert 12 <= float(scene.boxes[0, 2]) <= 38
    assert 90 < mosaics < 150
    assert set(others) == set(range(5))
    assert min(others.values()) > 0.12 * sum(others.values())


@needs_shared
def test_fast_enough_to_run_beside_a_training():
    data = BoxFolder(SHARED / "bccd", "val")
    [data[index] for index in range(20)]  # decoding is not what is timed
    taken = []
    for seed in range(20):
        start = time.thread_time()
        augment_boxes(data, seed, np.random.default_rng(seed), size=(256, 320), mosaic=0.0, turn=True)
        taken.append(time.thread_time() - start)
    assert min(taken) < 0.008
