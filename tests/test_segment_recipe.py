"""The parts of the segmentation recipe: scores, threshold, inference, models, pictures, page."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from matchloss.recipes import inference, segment
from matchloss.recipes.augment import normalize
from matchloss.recipes.errors import RunError
from matchloss.recipes.inference import predict_labels
from matchloss.recipes.metrics import confusion_matrix, score
from matchloss.recipes.models import build_model
from matchloss.recipes.otsu import otsu_labels
from matchloss.recipes.pictures import COLORS, CONFUSED, FALSE_ALARM, MISSED, mistakes, overlay, palette
from matchloss.recipes.progress import Speed
from matchloss.recipes.report import Curves, Facts, Gallery, Section, Table, picture_uri, write_page
from matchloss.recipes.segment import Settings, make_criterion
from toy_training import save_small_segformer


def rgb(color: str) -> torch.Tensor:
    return torch.tensor(list(bytes.fromhex(color[1:])), dtype=torch.uint8)


def test_scores_by_hand() -> None:
    truth = torch.tensor([[0, 0, 1, 1], [0, 2, -100, -100]])
    prediction = torch.tensor([[0, 1, 1, 1], [0, 0, 2, 1]])
    matrix = confusion_matrix(prediction, truth, classes=4)
    assert matrix.tolist() == [[2, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    scores = score(matrix, ["background", "a", "b", "c"])
    assert scores.iou[:3] == pytest.approx([2 / 4, 2 / 3, 0])
    assert scores.dice[:3] == pytest.approx([4 / 6, 4 / 5, 0])
    assert math.isnan(scores.iou[3])  # absent from both: no score, and no part in the mean
    assert scores.mean_iou == pytest.approx(1 / 3)
    assert scores.mean_dice == pytest.approx(2 / 5)


def test_mean_leaves_out_only_a_background() -> None:
    matrix = torch.tensor([[3, 1], [0, 4]])
    assert score(matrix, ["Background", "nucleus"]).mean_iou == pytest.approx(4 / 5)
    assert score(matrix, ["land", "water"]).mean_iou == pytest.approx((3 / 4 + 4 / 5) / 2)
    assert math.isnan(score(torch.tensor([[5, 0], [0, 0]]), ["background", "a"]).mean_iou)


@pytest.mark.parametrize(("inside", "outside"), [(200, 30), (30, 200)])
def test_otsu_takes_the_smaller_side(inside: int, outside: int) -> None:
    image = torch.full((3, 20, 20), outside, dtype=torch.uint8)
    image[:, 5:10, 5:12] = inside
    assert torch.equal(otsu_labels(image), (image[0] == inside).long())


def test_otsu_of_a_flat_image_is_background() -> None:
    assert otsu_labels(torch.full((3, 8, 8), 90, dtype=torch.uint8)).sum() == 0


class Pointwise(nn.Module):
    """Bright pixels are class 1, judged one by one, so that no padding or window may change the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.zeros(1))
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(images.shape))
        grey = images.mean(1, keepdim=True) - self.threshold
        return torch.cat([-grey, grey], 1)


@pytest.mark.parametrize("size", [(64, 96), (45, 70), (5, 3)])
def test_inference_keeps_the_size(size: tuple[int, int]) -> None:
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    model = Pointwise()
    labels = predict_labels(model, image)
    assert torch.equal(labels, (normalize(image).mean(0) > 0).long())
    assert all(side % 32 == 0 for side in model.shapes[0][2:])


def test_large_images_go_through_in_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    image = torch.randint(0, 256, (3, 1030, 600), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    model = Pointwise()
    labels = predict_labels(model, image)
    assert {shape[2:] for shape in model.shapes} == {(512, 512)}
    monkeypatch.setattr(inference, "LARGEST", 5000)
    assert (labels == predict_labels(model, image)).float().mean() > 0.9999  # blending rounds


def test_colours_of_classes_and_mistakes() -> None:
    assert palette(["background", "a"]) == [None, tuple(rgb(COLORS[0]).tolist())]
    assert len({*palette([str(index) for index in range(40)])}) == 40
    image = torch.full((3, 1, 5), 128, dtype=torch.uint8)
    truth, prediction = torch.tensor([[1, 0, 1, 2, -100]]), torch.tensor([[0, 1, 1, 1, 0]])
    drawn = mistakes(image, truth, prediction, ["background", "a", "b"])
    expected = [rgb(MISSED), rgb(FALSE_ALARM), None, rgb(CONFUSED), None]
    for position, color in enumerate(expected):
        grey = torch.tensor([128] * 3, dtype=torch.uint8)
        assert torch.equal(drawn[:, 0, position], grey if color is None else color)


def test_overlay_tints_objects_only() -> None:
    image = torch.zeros(3, 9, 9, dtype=torch.uint8)
    labels = torch.zeros(9, 9, dtype=torch.long)
    labels[2:7, 2:7] = 1
    drawn = overlay(image, labels, ["background", "a"])
    assert drawn[:, labels == 0].sum() == 0
    assert torch.equal(drawn[:, 2, 2], rgb(COLORS[0]))  # the edge in full
    assert torch.equal(drawn[:, 4, 4], (rgb(COLORS[0]).float() * 0.35).round().byte())


@pytest.mark.parametrize("name", ["unet", "segformer"])
def test_models_give_logits_of_the_images_size(name: str, tmp_path: Path) -> None:
    model = build_model(name, classes=5, folder=tmp_path, pretrained=True)
    assert model(torch.zeros(2, 3, 64, 96)).shape == (2, 5, 64, 96)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules()) or name == "segformer"


def test_pretrained_weights_are_used_and_the_head_starts_anew(tmp_path: Path) -> None:
    from transformers import SegformerForSemanticSegmentation

    pretrained = save_small_segformer(tmp_path / "pretrained")
    model = build_model(str(pretrained), classes=3, folder=tmp_path / "model", pretrained=True)
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 3, 64, 64)
    original = SegformerForSemanticSegmentation.from_pretrained(pretrained).segformer.state_dict()
    loaded = model.network.segformer.state_dict()
    assert all(torch.equal(original[name], loaded[name]) for name in original)
    again = build_model("a name that needs no network", classes=3, folder=tmp_path / "model", pretrained=False)
    again.load_state_dict(model.state_dict())


def test_unknown_model_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(RunError, match=r"cannot load the model '\./missing': it is neither unet") as caught:
        build_model("./missing", classes=2, folder=tmp_path, pretrained=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("terms", ["cross_entropy", "dice=much", "", "=1", "nonsense=1"])
def test_bad_terms_are_one_sentence(terms: str) -> None:
    with pytest.raises(RunError, match="--terms"):
        make_criterion(terms)


def test_terms_are_weighted() -> None:
    logits, labels = torch.randn(2, 3, 8, 8), torch.randint(0, 3, (2, 8, 8))
    loss = make_criterion(" cross_entropy=2, dice=0.5")(logits, labels)
    cross_entropy = float(nn.functional.cross_entropy(logits, labels))
    assert float(loss.terms["cross_entropy"]) == pytest.approx(2 * cross_entropy, rel=1e-4)
    dice = float(make_criterion("dice=1")(logits, labels).total)
    assert float(loss.terms["dice"]) == pytest.approx(0.5 * dice, rel=1e-4)


def test_page_escapes_and_draws(tmp_path: Path) -> None:
    wide = torch.zeros(3, 100, 800, dtype=torch.uint8)
    sections = [
        Section("A < B", "a & b", Facts([("<k>", "v")])),
        Section("T", "", Table(["name", "x"], [["<row>", "1"]])),
        Section("C", "", Curves({"loss": {"a": ([1.0, 2.0], [0.5, math.nan])}})),
        Section("G", "", Gallery(("image",), [("one", [wide])])),
    ]
    page = write_page(tmp_path, "<title>", sections).read_text()
    for raw, escaped in (("<k>", "&lt;k&gt;"), ("<row>", "&lt;row&gt;"), ("a & b", "a &amp; b")):
        assert raw not in page
        assert escaped in page
    assert "<h1>&lt;title&gt;</h1>" in page
    assert "currentColor" in page
    assert len(picture_uri(wide)) < len(picture_uri(torch.randint(0, 256, (3, 100, 384), dtype=torch.uint8)))


def test_speed_counts_samples_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 2.0, 4.0])
    monkeypatch.setattr("matchloss.recipes.progress.time.monotonic", lambda: next(clock))
    speed = Speed(start=10, steps=110, batch_size=8)
    assert speed.text(20) == "40.0 samples/s  0:18 left"
    assert speed.text(40) == "60.0 samples/s  0:09 left"


def test_sample_nuclei_are_readable() -> None:
    settings = Settings(data=str(Path(__file__).parents[1] / "samples" / "nuclei"))
    task = segment.SegmentationTask(settings, Path("no-run"))
    image, labels = task.sample(0, np.random.default_rng(0), 0)
    assert image.shape == (3, 128, 128)
    assert labels.shape == (128, 128)
    batch = task.collate([(image, labels)] * 2)
    assert task.loss(task.model, batch).total.isfinite()
