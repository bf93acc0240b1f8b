"""A detection from training to the page, on a tiny folder."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from matchloss.recipes import detect
from matchloss.recipes.checkpoint import load_checkpoint
from matchloss.recipes.detect import open_data
from matchloss.recipes.detect_page import score_table, write_detect_page
from matchloss.recipes.detect_results import evaluate, load_trained, predict_file, write_metrics
from matchloss.recipes.detect_settings import Settings
from matchloss.recipes.errors import RunError
from matchloss.recipes.log import read_history
from matchloss.recipes.settings import Machine
from test_detect_models import save_small_backbone
from toy_training import CPU, assert_same_run, rectangle_folder

TINY = {
    "steps": 4,
    "batch_size": 2,
    "size": "96x64",
    "mosaic": 0.5,
    "validate_every": 2,
    "save_every": 2,
    "log_every": 1,
    "warmup": 1,
}
TERMS = {"loss", "class_positive", "class_negative", "box", "dfl"}


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("detect")
    settings = Settings(data=str(rectangle_folder(root / "shapes")), **TINY)
    detect.train(settings, root / "run", CPU, resume=False)
    return root / "run"


def test_training_logs_terms_and_scores(trained_run: Path) -> None:
    history = read_history(trained_run)
    train = [record for record in history if "train" in record]
    assert [record["step"] for record in train] == [1, 2, 3, 4]
    assert set(train[0]["train"]) == TERMS
    assert train[0]["stats"]["targets"] > 0
    scored = [record for record in history if "scores" in record]
    assert [record["step"] for record in scored] == [2, 4]
    assert set(scored[0]["scores"]) == {"ap50", "ap", "ap75", "ap50_brick", "ap50_leaf"}
    assert list((trained_run / "tensorboard").iterdir())
    assert json.loads((trained_run / "classes.json").read_text()) == ["brick", "leaf"]
    assert json.loads((trained_run / "settings.json").read_text())["task"] == "detect"


def test_validation_while_training_is_the_evaluation_after(trained_run: Path) -> None:
    last = load_trained(trained_run, "last")
    scores = evaluate(last, open_data(last.settings, "val", last.classes), "val").scores
    logged = [record["scores"] for record in read_history(trained_run) if "scores" in record][-1]
    assert scores.ap == pytest.approx(logged["ap"], abs=1e-6)
    assert scores.ap50 == pytest.approx(logged["ap50"], abs=1e-6)


def test_evaluation_uses_the_average(trained_run: Path) -> None:
    saved = load_checkpoint(trained_run / "best.pt")
    weights = load_trained(trained_run).model.state_dict()
    assert all(torch.equal(weights[name], saved["ema"]["model"][name]) for name in weights)
    assert not all(torch.equal(weights[name], saved["model"][name]) for name in weights)


def test_interrupted_detection_resumes_bit_for_bit(trained_run: Path, tmp_path: Path) -> None:
    settings = load_trained(trained_run).settings
    detect.train(settings, tmp_path, replace(CPU, time_limit=0.0), resume=False)
    assert load_checkpoint(tmp_path / "last.pt")["state"]["step"] == 1
    detect.train(settings, tmp_path, CPU, resume=True)
    one, two = (load_checkpoint(run / "last.pt") for run in (trained_run, tmp_path))
    assert one["ema"]["updates"] == two["ema"]["updates"] == 4
    for key in one["model"]:
        assert torch.equal(one["model"][key], two["model"][key])
        assert torch.equal(one["ema"]["model"][key], two["ema"]["model"][key])


def test_killed_between_checkpoints_resumes_bit_for_bit(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """As sudden as a signal."""

    original, calls = detect.DetectionTask.loss, []

    def kill(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 4:
            raise Killed
        return original(*arguments)

    settings = load_trained(trained_run).settings
    with monkeypatch.context() as patch:
        patch.setattr(detect.DetectionTask, "loss", kill)
        with pytest.raises(Killed):
            detect.train(settings, tmp_path, CPU, resume=False)
    detect.train(settings, tmp_path, CPU, resume=True)
    assert_same_run(tmp_path, trained_run)


def test_two_processes_equal_one(tmp_path: Path) -> None:
    """A batch of two images shared by two processes: often one has no object, and validation is uneven."""
    folder = rectangle_folder(tmp_path / "shapes", train=4)
    settings = replace(Settings(data=str(folder), **TINY), mosaic=0.0, steps=5, validate_every=5)
    saved = {}
    for devices in (1, 2):
        run = tmp_path / str(devices)
        detect.train(settings, run, Machine(accelerator="cpu", devices=devices), resume=False)
        saved[devices] = load_checkpoint(run / "last.pt")
    logs = [[record["train"] for record in read_history(tmp_path / name) if "train" in record] for name in "12"]
    assert len(logs[1]) == 5
    for one, two in zip(*logs, strict=True):
        assert one == pytest.approx(two, rel=2e-3, abs=1e-4)
    for key in saved[1]["model"]:
        torch.testing.assert_close(saved[1]["model"][key], saved[2]["model"][key], rtol=2e-3, atol=1e-4)
    scores = [[record["scores"] for record in read_history(tmp_path / name) if "scores" in record] for name in "12"]
    assert scores[0][0] == pytest.approx(scores[1][0], abs=1e-3)


def test_pretrained_run_needs_its_folder_only_once(tmp_path: Path) -> None:
    folder = save_small_backbone(tmp_path / "weights")
    settings = Settings(data=str(rectangle_folder(tmp_path / "shapes")), model=str(folder), **TINY)
    detect.train(settings, tmp_path / "run", replace(CPU, time_limit=0.0), resume=False)
    shutil.rmtree(folder)
    detect.train(settings, tmp_path / "run", CPU, resume=True)
    assert load_trained(tmp_path / "run").step in (1, 2, 4)


def test_evaluation_and_its_files(trained_run: Path) -> None:
    trained = load_trained(trained_run)
    evaluation = evaluate(trained, open_data(trained.settings, "val", trained.classes), "val")
    assert evaluation.objects == [3, 3]
    assert len(evaluation.found) == 3
    metrics = json.loads(write_metrics(trained_run, trained, evaluation).read_text())
    assert metrics["scores"]["ap50"] == pytest.approx(evaluation.scores.ap50)
    assert metrics["scores"]["classes"]["leaf"]["objects"] == 3
    assert (metrics["split"], metrics["images"], metrics["checkpoint"]) == ("val", 3, "best")
    table = score_table(evaluation)
    assert [row[0] for row in table.rows] == ["brick", "leaf", "all", "constant boxes"]
    assert metrics["constant_boxes"]["ap50"] == pytest.approx(evaluation.constant.ap50)
    page = write_detect_page(trained_run, trained, evaluation).read_text()
    assert page.count('src="data:image/jpeg;base64,') == 3 * 2
    assert page.count("<svg") == 4
    assert page.index("val0: AP50 absent") > max(page.index("val1: AP50"), page.index("val2: AP50"))  # nothing to find
    assert not re.search(r'(src|href)="(?!data:|#)', page), "the page must load nothing"
    assert "<script" not in page
    for words in ("Detection on shapes", "parameters", "AP50 %", "val0", "class_positive", "box loss ciou"):
        assert words in page


def test_other_classes_are_refused(trained_run: Path, tmp_path: Path) -> None:
    folder = rectangle_folder(tmp_path / "shapes")
    for file in (folder / "Annotations").iterdir():
        file.write_text(file.read_text().replace("leaf", "fern"))
    trained = load_trained(trained_run)
    with pytest.raises(RunError, match=r"has the classes \['brick', 'fern'\]"):
        evaluate(trained, open_data(replace(trained.settings, data=str(folder)), "val"), "val")
    run = Path(shutil.copytree(trained_run, tmp_path / "run"))
    with pytest.raises(RunError, match=r"was begun with \['brick', 'leaf'\]"):
        detect.train(replace(trained.settings, data=str(folder)), run, CPU, resume=True)


def test_damaged_run_is_one_sentence(trained_run: Path, tmp_path: Path) -> None:
    for file in trained_run.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "best.pt").write_bytes((trained_run / "best.pt").read_bytes())
    (tmp_path / "classes.json").write_text('["a", "b", "c"]')
    with pytest.raises(RunError, match="is damaged or from another version") as caught:
        load_trained(tmp_path)
    assert "\n" not in str(caught.value)
    (tmp_path / "settings.json").write_text('{"task": "detect", "data": ".", "colour": 1}')
    with pytest.raises(RunError, match="is not a detection of this version"):
        load_trained(tmp_path)


def test_prediction_of_a_file(trained_run: Path, tmp_path: Path) -> None:
    trained = load_trained(trained_run)
    image = Path(trained.settings.data) / "JPEGImages" / "val1.jpg"
    drawn, listed = predict_file(trained, image, tmp_path, min_score=0.0)
    found = trained.predict(open_data(trained.settings, "val")[1].image)
    content = json.loads(listed.read_text())
    assert (content["image"], content["width"], content["height"]) == ("val1.jpg", 96, 64)
    assert [entry["score"] for entry in content["objects"]] == pytest.approx(found.scores.tolist(), abs=1e-4)
    assert len(content["objects"]) > 0
    for entry, box, label in zip(content["objects"], found.boxes.tolist(), found.labels.tolist(), strict=True):
        assert entry["box"] == pytest.approx(box, abs=0.01)
        assert entry["class"] == trained.classes[label]
        assert 0 <= box[0] <= box[2] <= 96
        assert 0 <= box[1] <= box[3] <= 64
    assert Image.open(drawn).format == "PNG"
    _, none = predict_file(trained, image, tmp_path, min_score=1.0)
    assert json.loads(none.read_text())["objects"] == []
