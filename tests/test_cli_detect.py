"""`matchloss train detect` and what follows it, and the one line that each mistake gets."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from command_line import assert_one_line, call_cli, run_cli
from matchloss.recipes.detect_settings import SETTINGS, Settings
from toy_training import blob_folder, rectangle_folder

TINY = ["--steps", "2", "--batch-size", "2", "--size", "96x64", "--validate-every", "2", "--save-every", "2"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    return partial(run_cli, monkeypatch, capsys)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rectangle_folder(tmp_path_factory.mktemp("cli") / "shapes")


@pytest.fixture(scope="module")
def trained(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run made by the command."""
    out = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        assert call_cli(patch, "train", "detect", "--data", shapes, "--out", out, *TINY, "--box-loss", "giou") == 0
    return out


def test_train_writes_a_whole_run(trained: Path) -> None:
    for name in ("classes.json", "history.jsonl", "best.pt", "last.pt", "metrics.json", "index.html"):
        assert (trained / name).stat().st_size > 0, name
    settings = json.loads((trained / "settings.json").read_text())
    assert (settings["task"], settings["steps"], settings["box_loss"]) == ("detect", 2, "giou")
    assert settings["lr"] == Settings(data="").lr


def test_models_that_predict_a_set_have_their_own_defaults(run, shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = run("train", "detect", "--data", shapes, "--out", out, "--model", "rtdetr", *TINY)
    assert result.code == 0, result.err
    assert "constant boxes" in result.out
    settings, own = json.loads((out / "settings.json").read_text()), SETTINGS["rtdetr"](data="")
    assert (settings["steps"], settings["lr"], settings["model"]) == (2, own.lr, "rtdetr")
    result = run("explain", out, "val1")
    assert result.code == 0, result.err
    assert "L1 cost" in result.out
    assert (out / "explain" / "val1.png").is_file()
    assert run("train", "detect", "--out", out, "--resume", "--model", "rtdetr").code == 0
    assert_one_line(run("train", "detect", "--out", out, "--resume", "--model", "yolos"), "model was 'rtdetr'")


def test_resume_keeps_the_settings(run, trained: Path) -> None:
    before = (trained / "last.pt").read_bytes()
    result = run("train", "detect", "--out", trained, "--resume")
    assert result.code == 0, result.err
    assert (trained / "last.pt").read_bytes() == before
    result = run("train", "detect", "--out", trained, "--resume", "--box-loss", "l1", "--mosaic", "0.5")
    assert_one_line(result, "box_loss was 'giou' and is now 'l1'", "mosaic was")
    assert_one_line(run("train", "detect", "--data", trained, "--out", trained, *TINY), "holds a run already")


def test_run_of_another_kind_is_one_line(run, trained: Path, tmp_path: Path) -> None:
    words = "is a detection, not a segmentation", "matchloss train detect"
    assert_one_line(run("train", "segment", "--out", trained, "--resume"), *words)
    segmented = tmp_path / "segmented"
    segmented.mkdir()
    (segmented / "settings.json").write_text(json.dumps({"data": str(tmp_path)}))  # as before there were detections
    words = "is a segmentation, not a detection", "matchloss train segment"
    assert_one_line(run("train", "detect", "--out", segmented, "--resume"), *words)
    assert_one_line(run("evaluate", segmented), "no checkpoint best.pt")
    (segmented / "settings.json").write_text('{"task": "transcribe"}')
    assert_one_line(run("evaluate", segmented), "'transcribe'", "does not know")


def test_evaluate_prints_a_table_and_writes_metrics(run, shapes: Path, trained: Path) -> None:
    result = run("evaluate", trained, "--data", shapes, "--split", "train", "--checkpoint", "last")
    assert result.code == 0, result.err
    for word in ("brick", "leaf", "AP50 %", "objects"):
        assert word in result.out
    metrics = json.loads((trained / "metrics.json").read_text())
    assert (metrics["split"], metrics["checkpoint"], metrics["step"], metrics["images"]) == ("train", "last", 2, 6)


def test_other_data_may_be_in_another_format(run, shapes: Path, trained: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(trained, tmp_path / "run"))
    settings = json.loads((copy / "settings.json").read_text())
    (copy / "settings.json").write_text(json.dumps(settings | {"format": "coco"}))
    assert_one_line(run("evaluate", copy), "COCO")
    assert run("evaluate", copy, "--data", shapes).code == 0


def test_evaluate_errors(run, shapes: Path, trained: Path, tmp_path: Path) -> None:
    assert_one_line(run("evaluate", trained, "--data", tmp_path / "none"), "none")
    assert_one_line(run("evaluate", trained, "--split", "test"), "test")
    assert_one_line(run("evaluate", trained, "--classes", shapes / "classes.json"), "--classes is for segmentations")
    other = Path(shutil.copytree(shapes, tmp_path / "other"))
    file = other / "Annotations" / "val1.xml"
    file.write_text(file.read_text().replace("leaf", "fern"))
    assert_one_line(run("evaluate", trained, "--data", other), "val1.xml", "fern")


def test_predict_writes_overlay_and_boxes(run, shapes: Path, trained: Path, tmp_path: Path) -> None:
    images = [shapes / "JPEGImages" / "val0.jpg", shapes / "JPEGImages" / "val1.jpg"]
    assert run("predict", trained, *images, "--out", tmp_path / "out", "--min-score", "0").code == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["val0_boxes.json", "val0_overlay.png", "val1_boxes.json", "val1_overlay.png"]
    assert json.loads((tmp_path / "out" / names[0]).read_text())["image"] == "val0.jpg"
    assert_one_line(run("predict", trained, tmp_path / "none.png", "--out", tmp_path / "out"), "none.png")


def test_report_rewrites_the_page(run, trained: Path) -> None:
    (trained / "index.html").unlink()
    assert "index.html" in run("report", trained).out
    assert (trained / "index.html").read_text().endswith("</html>\n")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: shutil.rmtree(folder), ["shapes"]),
        (lambda folder: (folder / "train.txt").unlink(), ["train"]),
        (lambda folder: (folder / "JPEGImages" / "val1.jpg").unlink(), ["val1"]),
        (lambda folder: (folder / "Annotations" / "train2.xml").write_text("<annotation>"), ["train2.xml"]),
        (lambda folder: Image.new("RGB", (5, 5)).save(folder / "JPEGImages" / "train0.jpg"), ["train0", "5x5"]),
    ],
)
def test_bad_folder_is_one_line_and_makes_no_run(run, spoil, words: list[str], tmp_path: Path) -> None:
    folder = rectangle_folder(tmp_path / "shapes")
    spoil(folder)
    out = tmp_path / "run"
    assert_one_line(run("train", "detect", "--data", folder, "--out", out, *TINY), *words)
    assert not out.exists()


def test_folder_of_another_kind_is_one_line(run, tmp_path: Path) -> None:
    folder = blob_folder(tmp_path / "blobs")
    assert_one_line(run("train", "detect", "--data", folder, "--out", tmp_path / "run", *TINY), "blobs")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--size", "100x64"], ["--size 100x64", "multiples of 32"]),
        (["--size", "wide"], ["--size 'wide'", "WIDTHxHEIGHT"]),
        (["--head", "anchors"], ["--head anchors", "max-iou", "got tal"]),
        (["--head", "anchors", "--preset", "tood"], ["--preset tood", "--head points"]),
        (["--preset", "yolov8", "--box-loss", "l1"], ["--preset yolov8", "--box-loss"]),
        (["--model", "yolos", "--nms", "diou"], ["--model yolos", "predicts a set", "leave out --nms"]),
        (["--model", "rtdetr", "--assigner", "tal", "--head", "points"], ["leave out --head, --assigner"]),
    ],
)
def test_bad_options_are_one_line(run, shapes: Path, tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    result = run("train", "detect", "--data", shapes, "--out", tmp_path / "run", *TINY, *arguments)
    assert_one_line(result, *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments",
    [["--assigner", "best"], ["--class-loss", "ciou"], ["--nms", "giou"], ["--ema", "1"], ["--mosaic", "2"]],
)
def test_impossible_options_are_refused(run, shapes: Path, tmp_path: Path, arguments: list[str]) -> None:
    result = run("train", "detect", "--data", shapes, "--out", tmp_path / "run", *arguments)
    assert result.code == 2
    assert arguments[0] in result.err
    assert "Traceback" not in result.err


def test_unknown_backbone_is_one_line(run, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = run("train", "detect", "--data", shapes, "--out", tmp_path / "run", *TINY, "--model", "./nowhere")
    assert_one_line(result, "cannot load the backbone './nowhere'")


def test_interrupt_says_how_to_go_on(run, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("matchloss.recipes.engine.Training.step", interrupt)
    result = run("train", "detect", "--data", shapes, "--out", tmp_path / "run", *TINY)
    assert result.code == 130
    assert "matchloss train detect --out" in result.err
    assert "Traceback" not in result.err
