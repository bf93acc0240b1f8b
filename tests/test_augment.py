"""Augmentation: pure, labels stay on their pixels, and inference sees the same normalisation."""

import numpy as np
import pytest
import torch
from torch import Tensor

from matchloss.recipes.augment import augment, normalize, pad_to_multiple
from matchloss.recipes.data import Sample

PLAIN = {"scale": (1.0, 1.0), "turn": False, "color": 0.0}


def make(height: int, width: int, seed: int = 0) -> Sample:
    """A noise image whose labels are the red channel, halved: they tell which pixel a label came from."""
    rng = np.random.default_rng(seed)
    image = torch.from_numpy(rng.integers(0, 256, (3, height, width), dtype=np.uint8))
    return Sample(image, (image[0] // 2).long(), "noise")


def smooth(height: int, width: int) -> Sample:
    """Blobs wide enough to stay in place under bilinear resizing; label 1 where red is above 127."""
    y, x = torch.meshgrid(torch.arange(height) / 9.0, torch.arange(width) / 7.0, indexing="ij")
    image = (127.5 + 127 * torch.stack([(y.sin() + x.cos()) / 2, y.cos(), x.sin()])).round().to(torch.uint8)
    return Sample(image, (image[0] > 127).long(), "smooth")


def undo(image: Tensor, sample: Sample) -> Tensor:
    """Back from normalised values to grey levels."""
    deviation, mean = torch.std_mean(sample.image.float(), correction=0)
    return image * deviation + mean


@pytest.mark.parametrize("shape", [(7, 50), (40, 40), (90, 61), (1, 1)])
def test_shapes_types_and_purity(shape: tuple[int, int]):
    sample = make(*shape)
    before = Sample(sample.image.clone(), sample.labels.clone(), "")
    torch.manual_seed(3)
    np.random.seed(3)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    for seed in range(20):
        image, labels = augment(sample, np.random.default_rng(seed), size=32)
        assert (image.dtype, image.shape) == (torch.float32, (3, 32, 32))
        assert (labels.dtype, labels.shape) == (torch.int64, (32, 32))
        assert image.isfinite().all()
        again = augment(sample, np.random.default_rng(seed), size=32)
        assert torch.equal(image, again[0])
        assert torch.equal(labels, again[1])
    assert torch.equal(sample.image, before.image)
    assert torch.equal(sample.labels, before.labels)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()


def test_seeds_differ_and_options_do_not_move_the_crop():
    sample = make(64, 64)
    crops = {augment(sample, np.random.default_rng(seed), size=16)[1].numpy().tobytes() for seed in range(30)}
    assert len(crops) == 30
    for seed in range(10):
        _, labels = augment(sample, np.random.default_rng(seed), size=16, color=0.0)
        _, same = augment(sample, np.random.default_rng(seed), size=16, color=1.0, invert=0.5)
        assert torch.equal(labels, same)
        one, two = np.random.default_rng(seed), np.random.default_rng(seed)
        augment(sample, one, size=16)
        augment(make(5, 9), two, size=48, **PLAIN)
        assert one.random() == two.random()  # the count of numbers drawn is always the same


@pytest.mark.parametrize("turn", [False, True])
def test_labels_stay_on_their_pixels(turn: bool):
    sample = make(50, 30)
    for seed in range(30):
        image, labels = augment(sample, np.random.default_rng(seed), size=40, **(PLAIN | {"turn": turn}))
        inside = labels != -100
        assert 0 < int(inside.sum()) <= 40 * 30
        assert not inside.all()  # the image is narrower than the crop
        red = undo(image, sample)[0].round().long()
        assert torch.equal(red[inside] // 2, labels[inside])


def test_all_eight_symmetries_occur():
    sample = make(8, 8)
    options = PLAIN | {"turn": True}
    crops = [augment(sample, np.random.default_rng(seed), size=8, **options)[1] for seed in range(200)]
    views = {tuple(labels.flatten().tolist()) for labels in crops}
    expected = {tuple(m.rot90(k).flatten().tolist()) for k in range(4) for m in (sample.labels, sample.labels.flip(1))}
    assert views == expected


def test_crops_reach_every_corner_evenly():
    sample = make(12, 12)
    corners = [0, 0, 0, 0]
    for seed in range(400):
        _, labels = augment(sample, np.random.default_rng(seed), size=11, **PLAIN)
        options = [sample.labels[y : y + 11, x : x + 11] for y in (0, 1) for x in (0, 1)]
        corners = [count + int(torch.equal(labels, option)) for count, option in zip(corners, options, strict=True)]
    assert sum(corners) == 400
    assert min(corners) > 60


def test_padding_reflects_pixels_and_ignores_labels():
    sample = make(5, 5)
    image, labels = augment(sample, np.random.default_rng(1), size=19, **PLAIN)
    rows, columns = (axis.unique() for axis in (labels != -100).nonzero().T)
    assert len(rows) == len(columns) == 5
    top, left = int(rows[0]), int(columns[0])
    assert torch.equal(labels[top : top + 5, left : left + 5], sample.labels)
    expected = np.pad(sample.image.numpy(), ((0, 0), (top, 14 - top), (left, 14 - left)), mode="reflect")
    np.testing.assert_array_equal(undo(image, sample).round().numpy(), expected)


def test_scaling_keeps_image_and_labels_aligned():
    y, x = torch.meshgrid(torch.arange(200), torch.arange(200), indexing="ij")
    sample = Sample(torch.stack([x, y, x * 0]).to(torch.uint8), y * 1000 + x, "ramps")
    zooms = []
    for seed in range(60):
        image, labels = augment(sample, np.random.default_rng(seed), size=96, turn=False, color=0.0)
        red, green, _ = undo(image, sample)
        # The nearest pixel lies at most half a pixel off what bilinear reads; another pixel grid would show at once.
        assert (red - labels % 1000).abs().max() < 0.51
        assert (green - labels // 1000).abs().max() < 0.51
        zooms.append(float(80 / (red[0, 88] - red[0, 8])))
        assert abs(float(80 / (green[88, 0] - green[8, 0])) - zooms[-1]) < 1e-3
    assert 0.74 < min(zooms) < 0.8
    assert 1.25 < max(zooms) < 1.35
    assert 0.9 < float(np.median(zooms)) < 1.1  # zooming in is as likely as zooming out
    image, _ = augment(sample, np.random.default_rng(0), size=96, scale=(3.0, 3.0), turn=False, color=0.0)
    assert abs(float(undo(image, sample)[0, 0].diff()[8:88].mean()) - 1 / 3) < 1e-3


def test_flat_dark_regions_stay_finite():
    dark = torch.full((3, 64, 64), 7, dtype=torch.uint8)
    dark[:, 5, 5] = 200
    for seed in range(50):  # bilinear weights do not sum to exactly 1, and gamma takes a power
        image, _ = augment(Sample(dark, dark[0].long(), ""), np.random.default_rng(seed), size=48)
        assert image.isfinite().all()


def test_normalize():
    sample = make(20, 30)
    out = normalize(sample.image)
    assert out.dtype == torch.float32
    assert abs(float(out.mean())) < 1e-5
    assert abs(float(out.std(correction=0)) - 1) < 1e-5
    # The same whatever the camera's gain and offset are, up to rounding.
    dim = (sample.image // 2 + 40).to(torch.uint8)
    assert (normalize(dim) - out).abs().max() < 0.02
    other = make(20, 30, seed=1).image // 3
    batch = normalize(torch.stack([sample.image, other]))
    assert torch.allclose(batch, torch.stack([out, normalize(other)]), atol=1e-6)  # each by its own statistics
    assert normalize(torch.full((3, 4, 4), 9, dtype=torch.uint8)).abs().max() == 0
    tinted = torch.tensor([200, 100, 30], dtype=torch.uint8)[:, None, None].expand(3, 4, 4)
    assert normalize(tinted)[0, 0, 0] > 1 > 0 > normalize(tinted)[2, 0, 0]  # the stain's colour is kept
    with pytest.raises(ValueError, match=r"normalize: image must be uint8 .* got torch\.float32"):
        normalize(out)


def test_augment_without_options_is_the_inference_view():
    sample = make(24, 24)
    image, labels = augment(sample, np.random.default_rng(0), size=24, **PLAIN)
    assert torch.allclose(image, normalize(sample.image), atol=1e-5)
    assert torch.equal(labels, sample.labels)
    # An empty crop of an image with something in it stays flat.
    lonely = torch.zeros(3, 64, 64, dtype=torch.uint8)
    lonely[:, :4, :4] = 250
    view = normalize(lonely)[:, 40, 40]
    image, _ = augment(Sample(lonely, lonely[0].long(), ""), np.random.default_rng(0), size=8, **PLAIN)
    assert torch.allclose(image, view[:, None, None].expand(3, 8, 8), atol=1e-5)


def test_colour_is_jittered_mildly_and_inverted_only_when_asked():
    sample = smooth(32, 32)
    base = normalize(sample.image)
    options = PLAIN | {"color": 1.0}
    views = [augment(sample, np.random.default_rng(seed), size=32, **options)[0] for seed in range(200)]
    grey = [bool((view.std(0) < 0.25).all()) for view in views]
    assert 5 < sum(grey) < 45  # one in ten; its channels keep a gain of their own
    for view, is_grey in zip(views, grey, strict=True):
        assert (view - base).abs().max() > 0.01
        reference = base.mean(0) if is_grey else base
        assert float(torch.corrcoef(torch.stack([view.mean(0).flatten(), base.mean(0).flatten()]))[0, 1]) > 0.9
        assert abs(float(view.mean())) < 0.5
        assert 0.6 < float(view.std() / reference.std()) < 1.6
    gains = torch.stack([view.std((1, 2)) / view.std() for view in views])
    assert (gains.std(0) > 0.02).all()  # each channel moves by itself
    # On two grey levels, which gamma keeps, only gain and brightness are left; on many, gamma bends the curve.
    ends = Sample((sample.image > 127).to(torch.uint8) * 255, sample.labels, "")
    low, high = normalize(ends.image)[0].aminmax()
    bright, bent = [], []
    for seed in range(50):
        darkest, brightest = augment(ends, np.random.default_rng(seed), size=32, **options)[0][0].aminmax()
        bright.append(float(darkest - low * (brightest - darkest) / (high - low)))
        view = augment(sample, np.random.default_rng(seed), size=32, **options)[0]
        bent.append(float(torch.corrcoef(torch.stack([view[0].flatten(), base[0].flatten()]))[0, 1]))
    assert np.std(bright) > 0.08
    assert np.median(bent) < 0.9999
    plain, _ = augment(sample, np.random.default_rng(0), size=32, **PLAIN)
    inverted, _ = augment(sample, np.random.default_rng(0), size=32, invert=1.0, **PLAIN)
    assert torch.equal(inverted, -plain)


@pytest.mark.parametrize("shape", [(3, 31, 64), (2, 3, 5, 1), (3, 64, 32)])
def test_pad_to_multiple(shape: tuple[int, ...]):
    image = torch.rand(shape)
    height, width = shape[-2:]
    padded = pad_to_multiple(image, 32)
    assert torch.equal(padded[..., :height, :width], image)
    assert padded.shape == (*shape[:-2], -(-height // 32) * 32, -(-width // 32) * 32)
    rows, columns = padded.shape[-2] - height, padded.shape[-1] - width
    widths = [(0, 0)] * (len(shape) - 2) + [(0, rows), (0, columns)]
    np.testing.assert_array_equal(padded.numpy(), np.pad(image.numpy(), widths, mode="reflect"))
