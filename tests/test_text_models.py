"""The text network: shapes of its three heads, what it says untrained, gradients, pretrained backbones."""

import math
from pathlib import Path

import pytest
import torch

from matchloss.recipes.errors import RunError
from matchloss.recipes.text_models import FIRST_DISTANCE, HEADS, PRIOR, REACH, build_text_network
from test_detect_models import save_small_backbone


def build(head: str, folder: Path) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_text_network("resnet", head=head, folder=folder)


@pytest.mark.parametrize(
    ("head", "shapes"),
    [
        ("rbox", {"score": (2, 1, 16, 24), "geometry": (2, 5, 16, 24)}),
        ("quad", {"score": (2, 1, 16, 24), "geometry": (2, 8, 16, 24)}),
        ("db", {"score": (2, 1, 32, 48), "threshold": (2, 1, 32, 48)}),
    ],
)
def test_maps_have_the_strides_and_channels(head: str, shapes: dict[str, tuple[int, ...]], tmp_path: Path) -> None:
    outputs = build(head, tmp_path)(torch.randn(2, 3, 64, 96))
    assert {name: tuple(values.shape) for name, values in outputs.items()} == shapes
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("head", HEADS)
def test_every_weight_has_a_gradient(head: str, tmp_path: Path) -> None:
    model = build(head, tmp_path)
    sum(values.square().mean() for values in model(torch.randn(2, 3, 64, 64)).values()).backward()
    without = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert without == []


def test_untrained_head_is_unsure_and_its_boxes_are_small(tmp_path: Path) -> None:
    outputs = build("rbox", tmp_path)(torch.randn(2, 3, 128, 128))
    assert outputs["score"].sigmoid().mean().item() == pytest.approx(PRIOR, rel=0.8)
    distances, angle = outputs["geometry"].split([4, 1], dim=1)
    assert distances.median().item() == pytest.approx(FIRST_DISTANCE, rel=0.5)
    assert angle.abs().median() < 0.6


def test_distances_and_angle_keep_to_their_ranges(tmp_path: Path) -> None:
    model = build("rbox", tmp_path)
    with torch.no_grad():
        for layer in (model.head.distances, model.head.angle):
            layer.weight.mul_(1e4)
        geometry = model(torch.randn(1, 3, 64, 64))["geometry"]
    assert geometry[:, :4].min() >= 0
    assert geometry[:, :4].max() <= REACH
    assert geometry[:, 4].abs().max() <= math.pi / 2 + 1e-6
    assert geometry[:, 4].max() > 1.5  # up to a quarter turn, as the encoder's angles go


def test_untrained_corners_run_clockwise(tmp_path: Path) -> None:
    from matchloss.geometry import quad_area

    offsets = build("quad", tmp_path).head.offsets.bias.detach().reshape(4, 2) * REACH
    assert quad_area(offsets) == pytest.approx(4 * FIRST_DISTANCE * 2 * FIRST_DISTANCE)


def test_coarse_stages_inform_the_fine_map(tmp_path: Path) -> None:
    merge = build("rbox", tmp_path).merge
    features = [
        torch.randn(1, count, 64 // s, 64 // s) for count, s in zip((32, 64, 128, 192), (4, 8, 16, 32), strict=True)
    ]
    before = merge(features)
    for stage in range(4):
        changed = [feature.clone() for feature in features]
        changed[stage] += torch.randn_like(changed[stage])
        assert not torch.allclose(merge(changed), before), stage


def test_pretrained_backbone_and_its_folder(tmp_path: Path) -> None:
    name = str(save_small_backbone(tmp_path / "weights"))
    model = build_text_network(name, head="rbox", folder=tmp_path / "run")
    assert model(torch.randn(1, 3, 64, 64))["score"].shape == (1, 1, 16, 16)
    norms = [module for module in model.train().modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    again = build_text_network("gone", head="rbox", folder=tmp_path / "run", pretrained=False)
    again.load_state_dict(model.state_dict())


def test_unknown_backbone_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot load the backbone '.*nothing'") as caught:
        build_text_network(str(tmp_path / "nothing"), head="rbox", folder=tmp_path)
    assert "\n" not in str(caught.value)
    three = save_small_backbone(tmp_path / "three", stages=3)
    with pytest.raises(RunError, match=r"strides \(4, 4, 8, 16\), expected \(4, 8, 16, 32\)"):
        build_text_network(str(three), head="rbox", folder=tmp_path / "run")
