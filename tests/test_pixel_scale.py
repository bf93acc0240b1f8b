"""Pixels as pretrained models know them: what the library's own image processors make of an image."""

import numpy as np
import pytest
import torch
from torch import Tensor

from matchloss.recipes.augment_boxes import augment_boxes, letterbox
from matchloss.recipes.data import BoxSample
from matchloss.recipes.detect_criteria import Composition
from matchloss.recipes.detect_method import OF_FAMILY, choose_method
from matchloss.recipes.detect_settings import Settings
from matchloss.recipes.pixel_scale import IMAGENET, PLAIN, PixelScale
from matchloss.recipes.set_models import FAMILY, SMALL

COMPOSITION = Composition("points", "none", "tal", "bce", "ciou", "iou")


def photo(height: int = 64, width: int = 96) -> Tensor:
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("pixels", [IMAGENET, PLAIN])
def test_letterboxed_pixels_are_on_the_scale(pixels: PixelScale) -> None:
    image = photo(60, 96)
    fitted = letterbox(image, long_side=96, pixels=pixels)
    mean, deviation = (torch.tensor(part)[:, None, None] for part in pixels)
    expected = (image.float() / 255 - mean) / deviation
    torch.testing.assert_close(fitted.image[:, :60], expected, rtol=1e-4, atol=1e-5)
    assert not fitted.image[:, 60:].any()  # what is filled up is 0 on any scale, as the library pads


@pytest.mark.parametrize("pixels", [IMAGENET, PLAIN])
def test_training_views_are_on_the_scale_too(pixels: PixelScale) -> None:
    """Without jitter and at zoom 1 a view is what inference sees; with it, the same jitter on another scale."""
    box, label = torch.tensor([[4.0, 4.0, 30.0, 30.0]]), torch.tensor([0])
    samples = [BoxSample(photo(), box, label, torch.tensor([False]), "a")]

    def view(scale: PixelScale | None, color: float) -> Tensor:
        rng = np.random.default_rng(0)
        still = {"scale": (1.0, 1.0), "mosaic": 0.0, "flip": False}
        return augment_boxes(samples, 0, rng, size=(64, 96), color=color, pixels=scale, **still).image

    torch.testing.assert_close(view(pixels, 0.0), letterbox(photo(), long_side=96, pixels=pixels).image)
    own, other = view(None, 1.0), view(pixels, 1.0)
    for channel in range(3):
        together = torch.corrcoef(torch.stack([own[channel].flatten(), other[channel].flatten()]))
        assert together[0, 1] > 0.9999
    assert not torch.allclose(own, other, atol=0.1)


@pytest.mark.parametrize("family", OF_FAMILY)
def test_scale_is_that_of_the_image_processor(family: str) -> None:
    transformers = pytest.importorskip("transformers")
    processors = {
        "yolos": transformers.YolosImageProcessor,
        "detr": transformers.DetrImageProcessor,
        "deformable_detr": transformers.DeformableDetrImageProcessor,
        "rt_detr": transformers.RTDetrImageProcessor,
    }
    processor = processors[family](do_resize=False, do_pad=False)
    theirs = processor(photo(), return_tensors="pt")["pixel_values"][0]
    method = choose_method("some/checkpoint", family, COMPOSITION, 3)
    ours = letterbox(photo(), long_side=96, pixels=method.pixels).image
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_models_from_random_weights_see_standardised_images() -> None:
    for name in SMALL:
        assert choose_method(name, FAMILY[name], COMPOSITION, 3).pixels is None
    assert choose_method(Settings(data="").model, None, COMPOSITION, 3).pixels is None
