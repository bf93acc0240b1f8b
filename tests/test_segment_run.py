"""A segmentation from training to the page, on a tiny folder."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from matchloss.recipes import segment
from matchloss.recipes.checkpoint import load_checkpoint
from matchloss.recipes.data import SegmentationFolder
from matchloss.recipes.errors import RunError
from matchloss.recipes.log import read_history
from matchloss.recipes.segment import Settings
from matchloss.recipes.segment_page import write_segment_page
from matchloss.recipes.segment_results import evaluate, load_trained, write_metrics
from toy_training import CPU, blob_folder, save_small_segformer

TINY = {"steps": 4, "batch_size": 2, "crop": 32, "validate_every": 2, "save_every": 2, "log_every": 1, "warmup": 1}


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


def test_pretrained_run_needs_its_folder_only_once(tmp_path: Path) -> None:
    folder = save_small_segformer(tmp_path / "weights")
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
