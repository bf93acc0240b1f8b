"""Models that predict a set, from training to the page, on a tiny folder."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tiny_detectors
from matchloss.recipes import detect
from matchloss.recipes.detect import open_data
from matchloss.recipes.detect_explain import find_sample
from matchloss.recipes.detect_page import write_detect_page
from matchloss.recipes.detect_results import evaluate, load_trained, predict_file
from matchloss.recipes.detect_settings import SETTINGS, Settings
from matchloss.recipes.explain_queries import explain_queries
from matchloss.recipes.log import read_history
from matchloss.recipes.match_changes import describe_changes
from matchloss.recipes.settings import Machine
from toy_training import CPU, assert_same_run, rectangle_folder

TINY = {
    "steps": 3,
    "batch_size": 2,
    "size": "96x64",
    "mosaic": 0.5,
    "validate_every": 1,
    "save_every": 1,
    "log_every": 1,
    "warmup": 1,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rectangle_folder(tmp_path_factory.mktemp("sets") / "shapes")


@pytest.fixture(scope="module", params=SETTINGS)
def trained_run(request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp(request.param) / "run"
    detect.train(SETTINGS[request.param](data=str(folder), model=request.param, **TINY), run, CPU, resume=False)
    return run


def test_training_logs_terms_scores_and_changes(trained_run: Path) -> None:
    history = read_history(trained_run)
    train = [record for record in history if "train" in record]
    assert [record["step"] for record in train] == [1, 2, 3]
    assert {"loss", "class", "l1", "giou"} <= set(train[0]["train"])
    assert train[0]["stats"]["matched"] == train[0]["stats"]["targets"] > 0
    scored = [record for record in history if "scores" in record]
    changes = [record["scores"]["match_changes"] for record in scored]
    assert changes[0] is None  # there is nothing before the first one
    assert all(0 <= change <= 1 for change in changes[1:])
    assert scored[0]["scores"].keys() == {"ap50", "ap", "ap75", "ap50_brick", "ap50_leaf", "match_changes"}
    times = [(record["seconds"], record["cpu_seconds"]) for record in scored]
    assert times == sorted(times)
    assert min(times[0]) > 0


def test_changes_are_those_of_the_matching(trained_run: Path) -> None:
    """The share that was logged last, from the matchings of the last two checkpoints' models."""
    last = load_trained(trained_run, "last")
    data = open_data(last.settings, "val", last.classes)
    matched = torch.load(trained_run / "last.pt", weights_only=True)["memory"]["matched"]
    assert matched.shape == (len(data), max(len(data.truth(index).labels) for index in range(len(data))))
    for index in range(len(data)):
        truth, seen = data.truth(index), last.look(data[index].image)
        matching = last.method.criterion.match(seen.outputs, seen.targets(truth, torch.device("cpu")))
        count = len(truth.labels)
        assert matched[index, :count].tolist() == matching.query_of_target[0, :count].tolist()
        assert (matched[index, count:] == -2).all()


def test_evaluation_predictions_and_page(trained_run: Path, tmp_path: Path) -> None:
    trained = load_trained(trained_run)
    evaluation = evaluate(trained, open_data(trained.settings, "val", trained.classes), "val")
    logged = [record["scores"]["ap50"] for record in read_history(trained_run) if "scores" in record]
    assert evaluation.scores.ap50 == pytest.approx(max(logged), abs=1e-6)
    page = write_detect_page(trained_run, trained, evaluation).read_text()
    assert page.count("<svg") == 5
    preset = {"yolos": "yolos", "detr": "detr", "rtdetr": "rtdetr"}[trained.settings.model]
    for words in ("constant boxes", "matched with another query", "minutes", f"SetCriterion.{preset}", "giou"):
        assert words in page
    assert "_aux_" not in page
    assert "head on" not in page
    image = Path(trained.settings.data) / "JPEGImages" / "val1.jpg"
    _, listed = predict_file(trained, image, tmp_path, min_score=0.0)
    for entry in json.loads(listed.read_text())["objects"]:
        x1, y1, x2, y2 = entry["box"]
        assert 0 <= x1 <= x2 <= 96
        assert 0 <= y1 <= y2 <= 64


def test_explanation_tells_of_changes_up_to_its_checkpoint(trained_run: Path) -> None:
    trained = load_trained(trained_run, "last")
    scored = [record["scores"] for record in read_history(trained_run) if "scores" in record]
    line = str(explain_queries(trained, find_sample(trained, "val1"))).splitlines()[-1]
    share = f"{scored[2]['match_changes']:.0%}"
    assert line == f"{share} of the objects of val had another query after step 3 than after 2"
    earlier = describe_changes(trained_run, 2)
    assert earlier.startswith(f"{scored[1]['match_changes']:.0%} of")
    assert earlier.endswith("after step 2 than after 1")
    assert describe_changes(trained_run, 1) == ""


def test_interrupted_training_resumes_bit_for_bit(trained_run: Path, tmp_path: Path) -> None:
    """The matching of the last validation, with which the next one compares, is remembered too."""
    settings = load_trained(trained_run).settings
    detect.train(settings, tmp_path, replace(CPU, time_limit=0.0), resume=False)
    detect.train(settings, tmp_path, CPU, resume=True)
    assert_same_run(tmp_path, trained_run)
    logs = [[record["scores"] for record in read_history(run) if "scores" in record] for run in (tmp_path, trained_run)]
    assert logs[0] == logs[1]


def test_images_with_more_objects_than_queries_are_told_of(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detect, "QUERIES", 1)
    monkeypatch.setattr("matchloss.recipes.launch.train", lambda *arguments: None)
    for model, told in (("yolos", True), ("resnet", False)):
        settings = SETTINGS.get(model, Settings)(data=str(folder), model=model, **TINY)
        detect.train(settings, tmp_path / model, CPU, resume=False)
        note = "note: 5 training images have more objects than the 1 queries of yolos"
        assert (note in capsys.readouterr().out) == told


def test_each_model_has_settings_of_its_own() -> None:
    own = {name: make(data="", model=name) for name, make in SETTINGS.items()}
    assert set(own) == {"yolos", "detr", "rtdetr"}
    assert all(settings.steps > Settings(data="").steps for settings in own.values())
    assert all(settings.lr < Settings(data="").lr for settings in own.values())


def test_two_processes_train_together_where_one_has_no_objects(folder: Path, tmp_path: Path) -> None:
    """Noisy queries come from the objects of a process alone: their terms and weights must be there without any."""
    lonely = Path(shutil.copytree(folder, tmp_path / "shapes"))
    (lonely / "train.txt").write_text("train0\ntrain1\n")  # the first has no object
    settings = SETTINGS["rtdetr"](data=str(lonely), model="rtdetr", **(TINY | {"mosaic": 0.0, "validate_every": 3}))
    detect.train(settings, tmp_path / "run", Machine(accelerator="cpu", devices=2), resume=False)
    train = [record["train"] for record in read_history(tmp_path / "run") if "train" in record]
    assert len(train) == 3
    assert all(math.isfinite(value) for record in train for value in record.values())
    assert train[0]["l1_denoising_0"] > 0


def test_pretrained_detector_needs_its_folder_only_once(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tiny_detectors.yolos().save_pretrained(tmp_path / "weights")
    settings = Settings(data=str(folder), model=str(tmp_path / "weights"), **TINY)
    detect.train(settings, tmp_path / "run", replace(CPU, time_limit=0.0), resume=False)
    shutil.rmtree(tmp_path / "weights")
    detect.train(settings, tmp_path / "run", CPU, resume=True)
    trained = load_trained(tmp_path / "run", "last")
    assert trained.step == 3
    assert trained.method.matches_sets
    assert "match_changes" in [record for record in read_history(tmp_path / "run") if "scores" in record][-1]["scores"]
