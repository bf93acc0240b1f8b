"""The parts of the segmentation recipe: scores, the threshold beside them, inference, models, pictures, page."""

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from matchloss.recipes import inference, segment
from matchloss.recipes.augment import normalize
from matchloss.recipes.checkpoint import load_checkpoint
from matchloss.recipes.data import SegmentationFolder
from matchloss.recipes.errors import RunError
from matchloss.recipes.inference import predict_labels
from matchloss.recipes.log import read_history
from matchloss.recipes.metrics import confusion_matrix, score
from matchloss.recipes.models import build_model
from matchloss.recipes.otsu import otsu_labels
from matchloss.recipes.pictures import COLORS, CONFUSED, FALSE_ALARM, MISSED, mistakes, overlay, palette
from matchloss.recipes.progress import Speed
from matchloss.recipes.report import Curves, Facts, Gallery, Section, Table, picture_uri, write_page
from matchloss.recipes.segment import Settings, make_criterion
from matchloss.recipes.segment_page import write_segment_page
from matchloss.recipes.segment_results import evaluate, load_trained, write_metrics
from matchloss.recipes.settings import Machine
from toy_training import blob_folder

CPU = Machine(accelerator="cpu")
TINY = {"steps": 4, "batch_size": 2, "crop": 32, "validate_every": 2, "save_every": 2, "log_every": 1, "warmup": 1}


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


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SegFormer with 7 classes, as somebody may have saved one."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    folder = tmp_path_factory.mktemp("pretrained")
    small = {"depths": [1] * 4, "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1] * 4}
    config = SegformerConfig(num_labels=7, decoder_hidden_size=16, **small)
    SegformerForSemanticSegmentation(config).save_pretrained(folder)
    return folder


def test_pretrained_weights_are_used_and_the_head_starts_anew(pretrained: Path, tmp_path: Path) -> None:
    from transformers import SegformerForSemanticSegmentation

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


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("segment")
    settings = Settings(data=str(blob_folder(root / "blobs")), **TINY)
    segment.train(settings, root / "run", CPU, resume=False)
    return root / "run"


def test_training_logs_terms_and_scores(trained_run: Path) -> None:
    history = read_history(trained_run)
    train = [record for record in history if "train" in record]
    assert [record["step"] for record in train] == [1, 2, 3, 4]
    assert set(train[0]["train"]) == {"loss", "cross_entropy", "dice"}
    scored = [record for record in history if "scores" in record]
    assert [record["step"] for record in scored] == [2, 4]
    assert set(scored[0]["scores"]) == {"mean_iou", "mean_dice", "iou_background", "iou_foreground"}
    assert list((trained_run / "tensorboard").iterdir())
    assert json.loads((trained_run / "classes.json").read_text()) == ["background", "foreground"]


def test_validation_while_training_is_the_evaluation_after(trained_run: Path) -> None:
    last = load_trained(trained_run, "last")
    folder = SegmentationFolder(Path(last.settings.data), "val")
    logged = [record["scores"] for record in read_history(trained_run) if "scores" in record][-1]
    assert evaluate(last, folder, "val").scores.mean_iou == pytest.approx(logged["mean_iou"], abs=1e-6)


def test_interrupted_segmentation_resumes_bit_for_bit(trained_run: Path, tmp_path: Path) -> None:
    settings = load_trained(trained_run).settings
    segment.train(settings, tmp_path, replace(CPU, time_limit=0.0), resume=False)
    assert load_checkpoint(tmp_path / "last.pt")["state"]["step"] == 1
    segment.train(settings, tmp_path, CPU, resume=True)
    one, two = (load_checkpoint(run / "last.pt")["model"] for run in (trained_run, tmp_path))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_pretrained_run_needs_its_folder_only_once(pretrained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(pretrained, folder)
    settings = Settings(data=str(blob_folder(tmp_path / "blobs")), model=str(folder), **TINY)
    segment.train(settings, tmp_path / "run", replace(CPU, time_limit=0.0), resume=False)
    shutil.rmtree(folder)
    segment.train(settings, tmp_path / "run", CPU, resume=True)
    assert load_trained(tmp_path / "run").step in (1, 2, 4)


def test_evaluation_and_its_files(trained_run: Path) -> None:
    trained = load_trained(trained_run)
    data = SegmentationFolder(Path(trained.settings.data), "val")
    evaluation = evaluate(trained, data, "val")
    assert evaluation.otsu.mean_iou > 0.99  # the blobs are bright squares on dark ground
    assert len(evaluation.image_iou) == 3
    metrics = json.loads(write_metrics(trained_run, trained, evaluation).read_text())
    assert metrics["scores"]["classes"]["foreground"]["iou"] == pytest.approx(evaluation.scores.iou[1], nan_ok=True)
    assert (metrics["split"], metrics["images"], metrics["checkpoint"]) == ("val", 3, "best")
    page = write_segment_page(trained_run, trained, evaluation).read_text()
    assert page.count('src="data:image/png;base64,') == 3 * 4
    assert page.count("<svg") == 2
    assert not re.search(r'(src|href)="(?!data:|#)', page), "the page must load nothing"
    assert "<script" not in page
    for words in ("Segmentation of blobs", "parameters", "Otsu IoU %", "val0", "cross_entropy"):
        assert words in page


def test_other_classes_are_refused(trained_run: Path, tmp_path: Path) -> None:
    folder = blob_folder(tmp_path / "blobs")
    (folder / "classes.json").write_text('{"format": "instances", "classes": ["ground", "cell"]}')
    with pytest.raises(RunError, match=r"has the classes \['ground', 'cell'\]"):
        evaluate(load_trained(trained_run), SegmentationFolder(folder, "val"), "val")


def test_resume_on_other_classes_is_refused(trained_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained_run, tmp_path / "run"))
    (run / "classes.json").write_text('["background", "cell"]')
    with pytest.raises(RunError, match=r"was begun with \['background', 'cell'\]"):
        segment.train(load_trained(trained_run).settings, run, CPU, resume=True)


def test_damaged_run_is_one_sentence(trained_run: Path, tmp_path: Path) -> None:
    for file in trained_run.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "best.pt").write_bytes((trained_run / "best.pt").read_bytes())
    (tmp_path / "classes.json").write_text('["a", "b", "c"]')
    with pytest.raises(RunError, match="is damaged or from another version") as caught:
        load_trained(tmp_path)
    assert "\n" not in str(caught.value)
    (tmp_path / "settings.json").write_text('{"data": ".", "colour": 1}')
    with pytest.raises(RunError, match="is not a segmentation of this version"):
        load_trained(tmp_path)
    (tmp_path / "settings.json").write_text('{"data"')
    with pytest.raises(RunError, match="cannot read"):
        load_trained(tmp_path)


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
    image, labels = task.sample(0, np.random.default_rng(0))
    assert image.shape == (3, 128, 128)
    assert labels.shape == (128, 128)
    batch = task.collate([(image, labels)] * 2)
    assert task.loss(task.model, batch).total.isfinite()


def test_mask_of_a_prediction_holds_class_indices(trained_run: Path, tmp_path: Path) -> None:
    from matchloss.recipes.segment_results import predict_file

    trained = load_trained(trained_run)
    image = Path(trained.settings.data) / "images" / "val0.png"
    drawn, mask = predict_file(trained, image, tmp_path)
    values = np.array(Image.open(mask))
    expected = trained.predict(SegmentationFolder(Path(trained.settings.data), "val")[0].image)
    assert np.array_equal(values, expected.numpy())
    assert Image.open(mask).mode == "P"
    assert Image.open(drawn).size == Image.open(image).size
