"""Reading maps at points, beside torch's own grid sampling; and choosing the points."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from matchloss.geometry import random_points, sample_points, uncertain_points


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scene(height: int = 5, width: int = 7) -> tuple[Tensor, Tensor]:
    """Three maps, and points on them, on their borders and a little beyond."""
    maps = torch.randn(3, height, width, generator=generator(), dtype=torch.float64)
    points = 1.2 * torch.rand(3, 50, 2, generator=generator(1), dtype=torch.float64) - 0.1
    points[:, :4] = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.5, 0.0], [0.5 / width, 0.5]])
    return maps, points


def by_grid(maps: Tensor, points: Tensor, mode: str = "bilinear") -> Tensor:
    options = {"mode": mode, "padding_mode": "border", "align_corners": False}
    return F.grid_sample(maps[:, None], 2 * points[:, None] - 1, **options)[:, 0, 0]


@pytest.mark.parametrize("size", [(5, 7), (1, 4), (4, 1), (1, 1)])
def test_between_cells_as_torch(size: tuple[int, int]) -> None:
    maps, points = scene(*size)
    maps.requires_grad_()
    assert_close(sample_points(maps, points), by_grid(maps, points))
    upstream = torch.randn(3, 50, generator=generator(2), dtype=torch.float64)
    slope, wanted = (torch.autograd.grad(f(maps, points), maps, upstream)[0] for f in (sample_points, by_grid))
    assert_close(slope, wanted)


def test_nearest_cell_as_torch() -> None:
    maps, points = scene()
    inside = points[:, 4:]  # on a line between two cells the choice is anybody's
    assert_close(sample_points(maps, inside, mode="nearest"), by_grid(maps, inside, "nearest"))


def test_gradients_are_right_twice_and_in_the_points_too() -> None:
    maps, points = scene()
    points = points[:, 4:10].clamp(0.15, 0.85)  # past the outermost centres a map is flat, with a kink there
    inputs = maps.requires_grad_(), points.requires_grad_()
    assert torch.autograd.gradcheck(sample_points, inputs)
    assert torch.autograd.gradgradcheck(sample_points, inputs)


def test_bools_are_read_without_becoming_floats_first() -> None:
    maps, points = scene()
    mask = maps > 0
    got = sample_points(mask, points.float())
    assert got.dtype == torch.float32
    assert_close(got, by_grid(mask.float(), points.float()))
    assert sample_points(mask, points.half()).dtype == torch.float32


def test_several_sets_of_points_read_one_map() -> None:
    maps, points = scene()
    which = torch.tensor([2, 0, 2])
    assert_close(sample_points(maps, points, which=which), sample_points(maps[which], points))
    shared = points[0]
    assert_close(sample_points(maps, shared), sample_points(maps, shared.expand(3, 50, 2)))
    images = maps[:, None].expand(3, 2, 5, 7)
    assert_close(sample_points(images, points[:, None])[:, 1], sample_points(maps, points))


def test_a_cell_without_a_share_does_not_reach_a_value() -> None:
    maps = torch.tensor([[1.0, 2.0, float("nan")]])
    points = torch.tensor([[1 / 6, 0.5], [0.5, 0.5], [1 / 3, 0.5]])
    assert_close(sample_points(maps, points), torch.tensor([1.0, 2.0, 1.5]))
    assert sample_points(maps, torch.tensor([[0.6, 0.5]])).isnan().all()


def test_an_unknown_mode_is_named() -> None:
    with pytest.raises(ValueError, match=r"sample_points: expected mode to be one of .* got 'cubic'"):
        sample_points(torch.zeros(2, 2), torch.zeros(1, 2), mode="cubic")  # type: ignore[arg-type]


def test_points_fill_their_area_and_no_more() -> None:
    area = torch.tensor([[0.25, 0.0, 0.5, 1.0], [0.9, 0.1, 0.9, 0.2]])
    points = random_points((2, 1000), area=area, generator=generator())
    assert_close(points[0].amin(0), torch.tensor([0.25, 0.0]), atol=0.02, rtol=0)
    assert_close(points[0].amax(0), torch.tensor([0.5, 1.0]), atol=0.02, rtol=0)
    assert_close(points[0].mean(0), torch.tensor([0.375, 0.5]), atol=0.03, rtol=0)
    assert (points[1, :, 0] == 0.9).all()
    assert torch.equal(random_points((2, 1000), area=area, generator=generator()), points)


def test_the_least_sure_points_are_chosen_and_a_broken_one_last() -> None:
    points = torch.arange(8.0).view(1, 4, 2)
    logits = torch.tensor([[3.0, float("nan"), -0.5, -9.0]])
    assert uncertain_points(points, logits, 2).tolist() == [[[4, 5], [0, 1]]]
    assert uncertain_points(points, logits, 3).tolist() == [[[4, 5], [0, 1], [6, 7]]]
