"""The command line from end to end, and the one line that each mistake gets."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command_line import assert_one_line, call_cli, run_cli
from matchloss.recipes.segment import Settings
from toy_training import blob_folder

TINY = ["--steps", "4", "--batch-size", "2", "--crop", "32", "--validate-every", "2", "--save-every", "2"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    return partial(run_cli, monkeypatch, capsys)


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return blob_folder(tmp_path_factory.mktemp("cli") / "blobs")


@pytest.fixture(scope="module")
def trained(blobs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run made by the command."""
    out = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        assert call_cli(patch, "train", "segment", "--data", blobs, "--out", out, *TINY) == 0
    return out


def test_train_writes_a_whole_run(trained: Path) -> None:
    for name in ("classes.json", "history.jsonl", "best.pt", "last.pt", "metrics.json", "index.html"):
        assert (trained / name).stat().st_size > 0, name
    settings = json.loads((trained / "settings.json").read_text())
    assert (settings["steps"], settings["crop"], settings["lr"]) == (4, 32, Settings(data="").lr)


def test_out_that_holds_a_run_is_left_alone(run, blobs: Path, trained: Path) -> None:
    before = (trained / "last.pt").read_bytes()
    result = run("train", "segment", "--data", blobs, "--out", trained, *TINY)
    assert_one_line(result, "holds a run already", "--resume")
    assert (trained / "last.pt").read_bytes() == before


def test_resume_with_other_settings_says_which(run, trained: Path) -> None:
    result = run("train", "segment", "--out", trained, "--resume", "--lr", "0.5", "--steps", "4", "--crop", "64")
    assert_one_line(result, "lr was", "is now 0.5", "crop was 32 and is now 64")
    assert "steps" not in result.err


def test_resume_of_a_finished_run_changes_no_weights(run, blobs: Path, trained: Path) -> None:
    before = (trained / "last.pt").read_bytes()
    for repeated in ([], ["--data", blobs, *TINY]):  # what is not typed comes from the run, not from the defaults
        result = run("train", "segment", "--out", trained, "--resume", *repeated)
        assert result.code == 0, result.err
        assert (trained / "last.pt").read_bytes() == before


def test_resume_without_a_run(run, tmp_path: Path) -> None:
    assert_one_line(run("train", "segment", "--out", tmp_path / "none", "--resume"), "is not a run")


def test_train_without_data(run, tmp_path: Path) -> None:
    assert_one_line(run("train", "segment", "--out", tmp_path / "run"), "expected --data")
    assert_one_line(run("train", "segment"), "expected --data")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: shutil.rmtree(folder), ["blobs"]),
        (lambda folder: (folder / "train.txt").unlink(), ["train.txt"]),
        (lambda folder: (folder / "labels" / "val1.png").unlink(), ["val1"]),
        (lambda folder: (folder / "images" / "train2.png").write_bytes(b"noise"), ["train2.png"]),
        (lambda folder: (folder / "classes.json").write_text("{"), ["classes.json"]),
        (lambda folder: Image.new("I;16", (5, 5)).save(folder / "labels" / "train0.png"), ["train0.png", "5x5"]),
    ],
)
def test_bad_folder_is_one_line_and_makes_no_run(run, spoil, words: list[str], tmp_path: Path) -> None:
    folder = blob_folder(tmp_path / "blobs")
    spoil(folder)
    out = tmp_path / "run"
    assert_one_line(run("train", "segment", "--data", folder, "--out", out, *TINY), *words)
    assert not out.exists()


def test_bad_pixels_met_while_training_are_one_line(run, tmp_path: Path) -> None:
    folder = blob_folder(tmp_path / "blobs")
    image = folder / "images" / "train1.png"
    image.write_bytes(image.read_bytes()[:-600])  # the header is whole
    assert_one_line(run("train", "segment", "--data", folder, "--out", tmp_path / "run", *TINY), "train1.png")
    result = run("train", "segment", "--data", folder, "--out", tmp_path / "other", "--skip-bad", *TINY)
    assert result.code == 0
    assert "3 images" in result.out
    assert result.out.count("left out: ") == 1
    assert "Warning" not in result.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--terms", "dice=high"], ["--terms", "dice=high"]),
        (["--crop", "40"], ["--crop 40", "multiple of 32"]),
        (["--classes", "missing.json"], ["missing.json"]),
    ],
)
def test_bad_options_are_one_line(run, blobs: Path, tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    result = run("train", "segment", "--data", blobs, "--out", tmp_path / "run", *TINY, *arguments)
    assert_one_line(result, *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("arguments", [["--precision", "8"], ["--accelerator", "abacus"], ["--steps", "0"]])
def test_impossible_options_are_refused(run, blobs: Path, tmp_path: Path, arguments: list[str]) -> None:
    result = run("train", "segment", "--data", blobs, "--out", tmp_path / "run", *arguments)
    assert result.code == 2
    assert arguments[0] in result.err
    assert "Traceback" not in result.err


def test_unknown_model_is_one_line_and_can_be_corrected(run, blobs: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    start = ["train", "segment", "--data", blobs, "--out", tmp_path / "run", *TINY]
    assert_one_line(run(*start, "--model", "./nowhere"), "cannot load the model './nowhere'")
    assert run(*start, "--model", "unet").code == 0


def test_evaluate_prints_a_table_and_writes_metrics(run, blobs: Path, trained: Path) -> None:
    result = run("evaluate", trained, "--data", blobs, "--split", "train", "--checkpoint", "last")
    assert result.code == 0
    assert "foreground" in result.out
    assert "Otsu IoU %" in result.out
    metrics = json.loads((trained / "metrics.json").read_text())
    assert (metrics["split"], metrics["checkpoint"], metrics["step"], metrics["images"]) == ("train", "last", 4, 4)
    assert metrics["data"] == str(blobs.resolve())
    assert metrics["otsu"]["mean_iou"] == 1.0


def test_evaluate_errors(run, blobs: Path, trained: Path, tmp_path: Path) -> None:
    assert_one_line(run("evaluate", tmp_path / "none", "--data", blobs), "is not a run")
    assert_one_line(run("evaluate", trained, "--data", blobs, "--split", "test"), "test.txt", "val")
    assert_one_line(run("evaluate", trained, "--data", tmp_path / "none"), "none")
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    shutil.copy(trained / "settings.json", unfinished)
    assert_one_line(run("evaluate", unfinished), "no checkpoint best.pt", "saved none yet")
    shutil.copy(trained / "last.pt", unfinished)
    assert_one_line(run("evaluate", unfinished), "no checkpoint best.pt", "it has last.pt")


def test_evaluate_can_leave_bad_files_out(run, trained: Path, tmp_path: Path) -> None:
    folder = blob_folder(tmp_path / "blobs")
    image = folder / "images" / "val1.png"
    image.write_bytes(image.read_bytes()[:-600])
    assert_one_line(run("evaluate", trained, "--data", folder), "val1.png")
    assert run("evaluate", trained, "--data", folder, "--skip-bad").code == 0
    metrics = json.loads((trained / "metrics.json").read_text())
    assert (metrics["images"], metrics["images_left_out"]) == (2, 1)


def test_predict_writes_overlay_and_mask(run, blobs: Path, trained: Path, tmp_path: Path) -> None:
    images = [blobs / "images" / "val0.png", blobs / "images" / "val1.png"]
    assert run("predict", trained, *images, "--out", tmp_path / "out").code == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["val0_mask.png", "val0_overlay.png", "val1_mask.png", "val1_overlay.png"]
    for name in names:
        assert Image.open(tmp_path / "out" / name).size == Image.open(images[0]).size
    assert set(np.unique(Image.open(tmp_path / "out" / "val0_mask.png"))) <= {0, 1}


def test_predict_errors(run, blobs: Path, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert_one_line(run("predict", trained, tmp_path / "none.png", "--out", out), "none.png")
    (tmp_path / "text.png").write_text("text")
    assert_one_line(run("predict", trained, tmp_path / "text.png", "--out", out), "text.png")
    (tmp_path / "other").mkdir()
    shutil.copy(blobs / "images" / "val0.png", tmp_path / "other")
    pair = [blobs / "images" / "val0.png", tmp_path / "other" / "val0.png"]
    assert_one_line(run("predict", trained, *pair, "--out", out), "different names")
    assert_one_line(run("predict", trained, pair[0], "--out", tmp_path / "text.png"), "text.png")


def test_report_rewrites_the_page(run, trained: Path) -> None:
    (trained / "index.html").unlink()
    result = run("report", trained)
    assert result.code == 0
    assert "index.html" in result.out
    assert (trained / "index.html").read_text().endswith("</html>\n")


def test_interrupt_says_how_to_go_on(run, blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("matchloss.recipes.engine.Training.step", interrupt)
    result = run("train", "segment", "--data", blobs, "--out", tmp_path / "run", *TINY)
    assert result.code == 130
    assert "--resume" in result.err
    assert "Traceback" not in result.err
