"""A text detection from training to the page, on drawn words."""

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from command_line import assert_one_line, run_cli
from matchloss.recipes import text
from matchloss.recipes.checkpoint import load_checkpoint
from matchloss.recipes.data.icdar import read_icdar
from matchloss.recipes.data.words import WordFolder
from matchloss.recipes.errors import RunError
from matchloss.recipes.log import read_history
from matchloss.recipes.text import TextTask, synthetic_share
from matchloss.recipes.text_inference import Words, pack, unpack
from matchloss.recipes.text_page import write_text_page
from matchloss.recipes.text_results import evaluate, load_trained, write_metrics
from matchloss.recipes.text_settings import Settings
from toy_training import CPU

TINY = {
    "steps": 4,
    "batch_size": 2,
    "crop": 64,
    "long_side": 128,
    "validate_every": 2,
    "save_every": 2,
    "log_every": 1,
    "warmup": 1,
}
OPTIONS = ["--steps", "2", "--batch-size", "2", "--crop", "64", "--long-side", "128", "--validate-every", "2"]


def word_folder(root: Path) -> Path:
    """Six photos with a dark word-like bar each, one of them unreadable."""
    (root / "images").mkdir(parents=True)
    (root / "gt").mkdir()
    for split, names in {"train": ["a", "b", "c"], "val": ["d", "e"]}.items():
        (root / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for number, name in enumerate(names):
            image = np.full((96, 128, 3), 200, np.uint8)
            x, y = 20 + 20 * number, 30 + 10 * number
            image[y : y + 16, x : x + 48] = 40
            Image.fromarray(image).save(root / "images" / f"{name}.png")
            said = "###" if name == "c" else "BAR"
            corners = (x, y, x + 48, y, x + 48, y + 16, x, y + 16)
            (root / "gt" / f"gt_{name}.txt").write_text(",".join(map(str, corners)) + f",{said}\n")
    return root


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return word_folder(tmp_path_factory.mktemp("text") / "bars")


@pytest.fixture(scope="module")
def trained_run(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("text") / "run"
    text.train(Settings(data=str(bars), **TINY), run, CPU, resume=False)
    return run


def test_training_logs_terms_and_scores(trained_run: Path) -> None:
    history = read_history(trained_run)
    train = [record for record in history if "train" in record]
    assert [record["step"] for record in train] == [1, 2, 3, 4]
    assert set(train[0]["train"]) == {"loss", "score", "dice", "iou", "angle"}
    assert {"positives", "mean_iou", "angle_error"} <= set(train[0]["stats"])
    scored = [record for record in history if "scores" in record]
    assert [record["step"] for record in scored] == [2, 4]
    assert set(scored[0]["scores"]) == {"hmean", "precision", "recall"}


def test_interrupted_training_resumes_bit_for_bit(trained_run: Path, tmp_path: Path) -> None:
    settings = load_trained(trained_run).settings
    text.train(settings, tmp_path, replace(CPU, time_limit=0.0), resume=False)
    assert load_checkpoint(tmp_path / "last.pt")["state"]["step"] == 1
    text.train(settings, tmp_path, CPU, resume=True)
    one, two = (load_checkpoint(run / "last.pt")["model"] for run in (trained_run, tmp_path))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_maps_lie_on_the_words_of_the_crop(bars: Path, tmp_path: Path) -> None:
    """The bars are dark, the photo is bright: where the map says text, the crop must be dark."""
    task = TextTask(Settings(data=str(bars), **TINY, synthetic=0.0), tmp_path)
    seen = 0
    for seed in range(12):
        batch = task.collate([task.sample(0, np.random.default_rng(seed), 0)])
        text_cells = batch.maps.score[0, 0] > 0
        brightness = batch.images[0].mean(0)[::4, ::4]
        if text_cells.any():
            seen += 1
            assert brightness[text_cells].max() < brightness.median()
    assert seen >= 6


def test_drawn_words_fade_out(bars: Path, tmp_path: Path) -> None:
    settings = Settings(data=str(bars), **TINY, synthetic=0.8)
    assert [round(synthetic_share(settings, step), 2) for step in (0, 1, 2, 3)] == [0.8, 0.4, 0.0, 0.0]
    task = TextTask(replace(settings, synthetic=1.0), tmp_path)
    never = TextTask(replace(settings, synthetic=0.0), tmp_path)
    drawn, photo = (task.sample(0, np.random.default_rng(3), step) for step in (0, 3))
    assert torch.equal(photo.image, never.sample(0, np.random.default_rng(3), 0).image)
    assert not torch.equal(drawn.image, photo.image)
    assert torch.equal(drawn.image, task.sample(0, np.random.default_rng(3), 0).image)


@pytest.mark.parametrize(
    ("options", "terms"),
    [
        ({"score_loss": "balanced"}, {"score", "iou", "angle"}),
        ({"score_loss": "dice", "geometry_loss": "probiou"}, {"dice", "iou"}),
        ({"preset": "argman"}, {"dice", "iou", "angle"}),
        ({"preset": "sakura"}, {"dice", "iou", "angle"}),
        ({"preset": "paper"}, {"score", "iou", "angle"}),
        ({"head": "quad"}, {"score", "dice", "quad"}),
        ({"head": "db"}, {"score", "threshold", "binary"}),
    ],
)
def test_every_way_to_train_takes_a_step(options: dict[str, str], terms: set[str], bars: Path, tmp_path: Path) -> None:
    settings = Settings(data=str(bars), **{**TINY, "steps": 1}, **options)
    text.train(settings, tmp_path, CPU, resume=False)
    logged = next(record["train"] for record in read_history(tmp_path) if "train" in record)
    assert set(logged) == {"loss", *terms}
    trained = load_trained(tmp_path)
    quads, scores = trained.predict(image_of(bars))
    assert quads.shape == (len(scores), 4, 2)


def image_of(bars: Path) -> torch.Tensor:
    return WordFolder(bars, "val")[0].image


def test_perfect_maps_find_the_words_in_the_photo_s_pixels(trained_run: Path, bars: Path) -> None:
    """A model that says what the encoder wants, on a photo that is scaled and filled up."""
    trained, sample = load_trained(trained_run), WordFolder(bars, "val")[1]

    class Oracle(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = torch.nn.Parameter(torch.zeros(1))

        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            size = (images.shape[2], images.shape[3])
            maps = trained.method.encode([sample.quads * 1.5], [sample.ignore], size)
            return {"score": 20 * maps.score - 10, "geometry": maps.geometry}

    oracle = replace(trained, model=Oracle(), settings=replace(trained.settings, long_side=192))
    found = oracle.predict(sample.image)
    assert len(found.quads) == len(sample.quads) == 1
    assert (found.quads - sample.quads).abs().max() < 1e-3


def test_words_survive_the_way_between_processes() -> None:
    found = [Words(torch.rand(n, 4, 2), torch.rand(n)) for n in (3, 0, 1)]
    for one, other in zip(found, map(unpack, pack(found, 4)), strict=False):
        assert torch.equal(one.quads, other.quads)
        assert torch.equal(one.scores, other.scores)
    assert len(unpack(pack(found, 4)[3]).quads) == 0


def test_evaluation_and_its_files(trained_run: Path) -> None:
    trained = load_trained(trained_run)
    data = WordFolder(Path(trained.settings.data), "val")
    evaluation = evaluate(trained, data, "val")
    assert evaluation.scores.truths == 2
    metrics = json.loads(write_metrics(trained_run, trained, evaluation).read_text())
    assert metrics["scores"]["hmean"] == evaluation.scores.hmean
    assert set(metrics["at_word_scores"]) == {"0.9925", "0.995", "0.9975", "0.999"}
    page = write_text_page(trained_run, trained, evaluation).read_text()
    assert page.count('src="data:image/jpeg;base64,') == 2 * 3
    assert not re.search(r'(src|href)="(?!data:|#)', page), "the page must load nothing"
    for words in ("Text in bars", "parameters", "precision %", "score ≥ 0.995", "geometry edges"):
        assert words in page


def test_predictions_are_a_submission(trained_run: Path, bars: Path, tmp_path: Path) -> None:
    from matchloss.recipes.text_results import predict_file

    trained = load_trained(trained_run)
    drawn, listed = predict_file(trained, bars / "images" / "d.png", tmp_path, min_score=0.0)
    assert Image.open(drawn).size == (128, 96)
    assert listed.name == "res_d.txt"
    assert len(read_icdar(listed)) == len(trained.predict(image_of(bars)).quads)


def test_command_trains_evaluates_and_resumes(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = partial(run_cli, monkeypatch, capsys), tmp_path / "run"
    result = run("train", "text", "--data", bars, "--out", out, *OPTIONS)
    assert result.code == 0, result.err
    assert "all words" in result.out
    for name in ("best.pt", "last.pt", "metrics.json", "index.html"):
        assert (out / name).stat().st_size > 0, name
    assert run("evaluate", out).code == 0
    assert run("predict", out, bars / "images" / "d.png", "--out", tmp_path / "found").code == 0
    assert run("train", "text", "--out", out, "--resume").code == 0
    assert_one_line(run("train", "text", "--out", out, "--resume", "--crop", "96"), "crop was 64 and is now 96")
    assert_one_line(run("train", "detect", "--out", out, "--resume"), "is a text detection, not a detection")
    assert_one_line(run("explain", out, "d"), "is no detection")
    assert_one_line(run("evaluate", out, "--classes", bars / "train.txt"), "--classes is for segmentations")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--preset", "paper", "--score-loss", "dice"], "leave out --score-loss"),
        (["--head", "db", "--geometry-loss", "kld"], "leave out --geometry-loss"),
        (["--head", "quad", "--geometry-loss", "kld"], "leave out --geometry-loss"),
        (["--head", "db", "--score-threshold", "0.7"], "leave out --score-threshold"),
        (["--head", "quad", "--preset", "paper"], "--preset paper is for --head rbox"),
        (["--crop", "100"], "--crop 100: expected a multiple of 32"),
    ],
)
def test_mistakes_are_one_line(
    options: list[str],
    words: str,
    bars: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = run_cli(monkeypatch, capsys, "train", "text", "--data", bars, "--out", tmp_path / "run", *options)
    assert_one_line(result, words)
    assert not (tmp_path / "run").exists()


def test_bad_files_are_named(bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    folder = word_folder(tmp_path / "bars")
    (folder / "gt" / "gt_b.txt").write_text("1,2,3,BAR\n")
    arguments = ("train", "text", "--data", folder, "--out", tmp_path / "run", *OPTIONS)
    assert_one_line(run_cli(monkeypatch, capsys, *arguments), "gt_b.txt, line 1")
    skipped = run_cli(monkeypatch, capsys, *arguments, "--skip-bad")
    assert skipped.code == 0, skipped.err
    assert "left out: " in skipped.out


def test_nothing_readable_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    folder = word_folder(tmp_path / "bars")
    for name in "ab":
        file = folder / "gt" / f"gt_{name}.txt"
        file.write_text(file.read_text().replace("BAR", "###"))
    result = run_cli(monkeypatch, capsys, "train", "text", "--data", folder, "--out", tmp_path / "run", *OPTIONS)
    assert result.code == 0, result.err
    assert "warning: no readable word in the training photos" in result.out


def test_damaged_run_is_one_sentence(trained_run: Path, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"task": "text", "data": ".", "colour": 1}')
    with pytest.raises(RunError, match="is not a text detection of this version"):
        load_trained(tmp_path)
