"""The detector: shapes of its two faces, levels, norms, pretrained backbones."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from matchloss.recipes.detect_models import BINS, STRIDES, build_detector
from matchloss.recipes.errors import RunError


def save_small_backbone(folder: Path, *, stages: int = 4) -> Path:
    """A ResNet as somebody may have saved one, with statistics in its batch norms."""
    from transformers import ResNetConfig, ResNetModel

    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 16, 16][:stages], depths=[1] * stages, layer_type="basic"
    )
    model = ResNetModel(config)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("anchors", "key", "channels"), [(None, "distances", 4 * BINS), (9, "deltas", 4 * 9)])
def test_levels_have_the_strides_and_channels(anchors: int | None, key: str, channels: int, tmp_path: Path) -> None:
    model = build_detector("resnet", classes=5, anchors=anchors, folder=tmp_path)
    levels = model(torch.randn(2, 3, 64, 96))
    assert len(levels) == len(STRIDES)
    for level, stride in zip(levels, STRIDES, strict=True):
        assert level.keys() == {"logits", key}
        assert level["logits"].shape == (2, 5 * (anchors or 1), 64 // stride, 96 // stride)
        assert level[key].shape == (2, channels, 64 // stride, 96 // stride)
    assert not list(tmp_path.iterdir())


def test_untrained_head_is_unsure_and_its_boxes_are_small(tmp_path: Path) -> None:
    torch.manual_seed(0)
    levels = build_detector("resnet", classes=3, folder=tmp_path)(torch.randn(2, 3, 128, 128))
    for level in levels:
        assert level["logits"].sigmoid().mean().item() == pytest.approx(0.01, rel=0.5)
        shares = level["distances"].unflatten(1, (4, BINS)).softmax(2)
        reach = (shares * torch.arange(BINS)[:, None, None]).sum(2)
        assert 1.5 < reach.mean() < 4  # strides to each side


def test_every_weight_has_a_gradient(tmp_path: Path) -> None:
    model = build_detector("resnet", classes=3, folder=tmp_path)
    sum(part.square().sum() for level in model(torch.randn(2, 3, 64, 64)) for part in level.values()).backward()
    without = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert without == []


def test_coarse_levels_inform_the_fine_ones(tmp_path: Path) -> None:
    model = build_detector("resnet", classes=1, folder=tmp_path)
    features = [torch.randn(1, count, 64 // s, 64 // s) for count, s in zip((64, 128, 192), STRIDES, strict=True)]
    features = [feature.requires_grad_() for feature in features]
    model.pyramid(features)[0].sum().backward()
    assert features[2].grad.abs().sum() > 0
    features[0].grad = None
    model.pyramid(features)[2].sum().backward()
    assert features[0].grad is None  # and not the other way round


def test_an_image_does_not_depend_on_its_neighbours(tmp_path: Path) -> None:
    model = build_detector("resnet", classes=2, folder=tmp_path).train()
    images = torch.randn(2, 3, 64, 64)
    both, alone = model(images), model(images[:1])
    for level, single in zip(both, alone, strict=True):
        for key in level:
            torch.testing.assert_close(level[key][:1], single[key], rtol=1e-4, atol=1e-5)


def test_pretrained_backbone_keeps_its_weights_and_statistics(tmp_path: Path) -> None:
    from transformers import ResNetModel

    saved = save_small_backbone(tmp_path / "weights")
    model = build_detector(str(saved), classes=2, folder=tmp_path / "model").train()
    original, loaded = ResNetModel.from_pretrained(saved).state_dict(), model.backbone.state_dict()
    assert len(loaded) >= len(original) - 1
    assert all(torch.equal(original[name], loaded[name]) for name in original)
    model(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(original[name], value) for name, value in model.backbone.state_dict().items())
    again = build_detector("needs no network", classes=2, folder=tmp_path / "model", pretrained=False)
    again.load_state_dict(model.state_dict())


def test_unknown_backbone_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(RunError, match=r"cannot load the backbone '\./missing': it is neither resnet") as caught:
        build_detector("./missing", classes=2, folder=tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(RunError, match="cannot read the architecture of the backbone 'x'"):
        build_detector("x", classes=2, folder=tmp_path / "empty", pretrained=False)


def test_backbone_of_other_strides_is_one_sentence(tmp_path: Path) -> None:
    saved = save_small_backbone(tmp_path / "weights", stages=3)
    with pytest.raises(RunError, match=r"strides \(4, 8, 16\), expected \(8, 16, 32\)"):
        build_detector(str(saved), classes=2, folder=tmp_path / "model")


def test_prior_is_one_in_a_hundred(tmp_path: Path) -> None:
    model = build_detector("resnet", classes=2, folder=tmp_path)
    assert torch.allclose(model.head.class_output.bias, torch.tensor(-math.log(99)))
