"""Images with boxes at inference: scaled, padded, normalised as in training, and their boxes mapped back."""

import pytest
import torch

from matchloss.recipes.augment import normalize
from matchloss.recipes.augment_boxes import letterbox, measure


@pytest.mark.parametrize("shape", [(90, 120), (120, 90), (37, 301), (1, 5)])
def test_letterbox_and_back(shape: tuple[int, int]):
    image = torch.randint(0, 256, (3, *shape), dtype=torch.uint8)
    boxed = letterbox(image, long_side=96)
    assert all(side % 32 == 0 for side in boxed.image.shape[1:])
    assert max(boxed.image.shape[1:]) == 96
    boxes = torch.tensor([[0.0, 0, shape[1], shape[0]], [0.25, 0.25, 0.75, 0.75]])
    torch.testing.assert_close(boxed.restore(boxes * boxed.scale), boxes)
    assert torch.equal(boxed.restore(torch.tensor([[-9.0, -9, 1e4, 1e4]])), boxes[:1])
    right, bottom = (round(float(side)) for side in (boxes * boxed.scale)[0, 2:])
    assert (boxed.image[:, bottom:] == 0).all()
    assert (boxed.image[:, :, right:] == 0).all()
    assert (boxed.image[:, :bottom, :right] != 0).any(0).float().mean() > 0.99


def test_letterbox_at_full_size_is_normalize():
    image = torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)
    torch.testing.assert_close(letterbox(image, long_side=96).image, normalize(image), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("last", [False, True])
def test_measure_is_that_of_normalize(last: bool):
    for seed, high in enumerate((1, 2, 5, 256)):
        pixels = torch.randint(0, high, (50, 31, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
        image = pixels.permute(2, 0, 1) if last else pixels.permute(2, 0, 1).contiguous()
        mean, deviation = measure(image)
        torch.testing.assert_close((image.float() - mean) / deviation, normalize(image), rtol=1e-4, atol=1e-4)
