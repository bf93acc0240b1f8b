"""The study of segmentation losses goes on where it was killed, and judges by its rule."""

import copy
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
BENCHMARKS, NUCLEI = ROOT / "benchmarks", ROOT / "samples" / "nuclei"
sys.path.insert(0, str(BENCHMARKS))

pytest.importorskip("monai", reason="the study trains a model of MONAI")

import study_segmentation as study  # noqa: E402
import study_train  # noqa: E402
from matchloss.criteria import SegmentationCriterion  # noqa: E402
from study_claims import claims_of  # noqa: E402
from study_data import choose_crops, foreground_share, whole_images  # noqa: E402
from study_gradients import by_class, hard_parts  # noqa: E402
from study_runs import LOSSES, SHARES, Length, Run, planned  # noqa: E402
from study_verdict import combine, judge  # noqa: E402

TINY = ("--steps", "2", "--crop", "32", "--jobs", "1", "--data", str(NUCLEI))


# The rule of the verdicts


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([0.10, 0.11, 0.12], "supported"),
        ([-0.10, -0.11, -0.12], "not supported"),  # the opposite is sure
        ([0.001, 0.0011, 0.0012], "not supported"),  # sure, and too small to matter
        ([0.3, -0.1, 0.2], "unclear"),  # the seeds disagree
        ([0.010, 0.011, 0.007], "unclear"),  # sure to be above 0, but the mean is below the margin, and it may be above
        ([0.001, -0.002, 0.0], "not supported"),  # no difference, and that is sure
        ([0.1], "unclear"),  # no spread
        ([], "unclear"),
        ([0.1, 0.11, math.nan], "unclear"),  # a run that failed
        ([0.1, 0.11, math.inf], "unclear"),
    ],
)
def test_verdict(differences: list[float], verdict: str) -> None:
    assert judge(differences, margin=0.01).verdict == verdict


def test_interval_by_hand() -> None:
    """Mean 2, deviation 1, and t = 4.3027 for 2 degrees of freedom: 2 -+ 4.3027 / sqrt 3."""
    effect = judge([1.0, 2.0, 3.0], margin=0.1)
    assert effect.mean == 2.0
    assert (effect.low, effect.high) == pytest.approx((2 - 2.48414, 2 + 2.48414), abs=1e-4)


def test_one_seed_has_no_interval() -> None:
    effect = judge([0.5], margin=0.1)
    assert (effect.mean, effect.low, effect.high) == (0.5, -math.inf, math.inf)


def test_seeds_must_be_several() -> None:
    with pytest.raises(SystemExit):
        study.main(["--seeds", "1"])


def test_margin_must_be_positive() -> None:
    with pytest.raises(ValueError, match="margin > 0, got 0"):
        judge([1.0, 1.0], margin=0)


def test_verdict_of_rows() -> None:
    assert combine(["supported", "supported"]) == "supported"
    assert combine(["not supported", "not supported"]) == "not supported"
    assert combine(["supported", "not supported"]) == combine(["supported", "unclear"]) == "unclear"


def made_up(run: Run) -> dict[str, object]:
    """A record in which Dice wins at 1% by 0.2, and has half the gradient and twice the spread."""
    wins = run.loss == "dice" and run.share == SHARES[0]
    noise, is_dice = 0.0025 * run.seed, run.loss == "dice"
    return {
        "foreground": run.share or 0.1,
        "iou": 0.5 + 0.2 * wins + noise * (1 + is_dice),
        "dice": 0.6 + noise,
        "at_start": {
            "per_foreground_pixel": (1 - 0.5 * is_dice) * (1 + noise),
            "per_background_pixel": 1.0,
            "foreground_part": 0.5,
        },
        "hard_parts": {"0": 0.5 + noise, "1": 0.7, "2": 0.71, "5": 0.9},
        "history": [[1, 0.5]],
        "steps_to_reach": None,
        "norm_spread": {"deviation_over_mean": 0.3 * (1 + is_dice) + noise, "p95_over_p5": 2.0 + noise},
        "loss": [1.0, 0.5],
        "gradient_norm": [1.0, 0.5],
        "seconds": 1.0,
    }


def test_claims_on_made_up_numbers() -> None:
    records = [{"loss_name": r.loss, "share": r.share, "seed": r.seed} | made_up(r) for r in planned(3)]
    claims = {claim.saying: claim for claim in claims_of(records)}
    verdicts = {saying: claim.verdict for saying, claim in claims.items()}
    assert verdicts == {
        "Dice copes better with extreme imbalance than cross entropy": "supported",
        "Adding Dice to cross entropy helps under extreme imbalance": "not supported",
        "Dice has large gradients": "not supported",
        "Training with Dice is unstable (deviation over mean)": "supported",
        "Training with Dice is unstable (95th over 5th percentile)": "not supported",
        "Focal loss concentrates on hard pixels, the more the larger its gamma": "unclear",  # not from 1 to 2
        "Losses made from the overlap reach a higher IoU than cross entropy": "not supported",
    }
    steps = claims["Focal loss concentrates on hard pixels, the more the larger its gamma"].rows
    assert [row.effect.verdict for row in steps] == ["supported", "not supported", "supported"]
    assert math.exp(steps[2].effect.mean) == pytest.approx(0.29 / 0.1)


# What the study measures


def test_crops_hold_the_share() -> None:
    samples = whole_images(NUCLEI).train
    for share in SHARES:
        crops = choose_crops(samples, share, 64, 12)
        assert 4 <= len(crops) <= 12
        for crop in crops:
            assert share / 1.25 <= foreground_share([crop]) <= share * 1.25
            name, top, left = crop.name.split("+")
            image = next(sample.image for sample in samples if sample.name == name)
            assert torch.equal(crop.image, image[:, int(top) : int(top) + 64, int(left) : int(left) + 64])
        assert len({crop.name for crop in crops}) == len(crops)


def test_nothing_is_scored_that_was_trained_on() -> None:
    lists = {split: (NUCLEI / f"{split}.txt").read_text().split() for split in ("train", "val")}
    for share in (None, 0.1):
        split = study_train.images_of(Run("dice", share, 0), Length(crop=64), NUCLEI)
        for samples, names in ((split.train, lists["train"]), (split.val, lists["val"])):
            assert {sample.name.split("+")[0] for sample in samples} <= set(names)


def test_no_crop_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"no image has a crop of 64 pixels with 0\.01% foreground"):
        choose_crops(whole_images(NUCLEI).val, 0.0001, 64, 4)  # less than a pixel


def test_gradient_by_class() -> None:
    """Cross entropy of equal logits: every pixel's gradient is (1/2, -1/2) over the 4 pixels."""
    labels = torch.tensor([[[1, 0], [0, 0]]])
    got = by_class(SegmentationCriterion({"cross_entropy": 1.0}), torch.zeros(1, 2, 2, 2), labels)
    each = math.sqrt(0.5) / 4
    assert got == pytest.approx(
        {"per_foreground_pixel": each, "per_background_pixel": each, "foreground_part": 0.25}, rel=1e-5
    )


def test_share_of_the_hardest_tenth() -> None:
    """Cross entropy pulls with 1 - p: one pixel in ten with p = 0.1 and nine with 0.9 share equally."""
    logits = torch.zeros(1, 2, 1, 10)
    logits[0, 1] = math.log(9.0)
    logits[0, 1, 0, 3] = -math.log(9.0)
    labels = torch.ones(1, 1, 10, dtype=torch.long)
    parts = hard_parts(logits, labels)
    assert parts["0"] == pytest.approx(0.9 / (0.9 + 9 * 0.1), rel=1e-4)
    # Slope of focal in the logit, gamma 1: (1 - p) (1 - p - p log p).
    pull = [(1 - p) * (1 - p - p * math.log(p)) for p in (0.1, 0.9)]
    assert parts["1"] == pytest.approx(pull[0] / (pull[0] + 9 * pull[1]), rel=1e-4)
    assert parts["0"] < parts["1"] < parts["2"] < parts["5"]


def test_spread_of_norms() -> None:
    got = study_train.spread([1.0, 3.0])
    assert got["deviation_over_mean"] == pytest.approx(0.5)
    assert got["p95_over_p5"] == pytest.approx(2.9 / 1.1)


def test_training_repeats_and_is_paired() -> None:
    """Equal seeds give equal records; other losses start from the same weights, other seeds do not."""
    length = Length(steps=2, crop=32, batch_size=2, train_crops=4, val_crops=2, validate_every=1)
    first, again, other, later = (
        study_train.train(Run(loss, 0.1, seed), length, NUCLEI)
        for loss, seed in (("dice", 0), ("dice", 0), ("cross_entropy+dice", 0), ("dice", 1))
    )
    timeless = [{k: v for k, v in record.items() if k != "seconds"} for record in (first, again, other, later)]
    assert timeless[0] == timeless[1]
    assert timeless[0]["loss"] != timeless[3]["loss"]
    cross_entropy = study_train.train(Run("cross_entropy", 0.1, 0), length, NUCLEI)
    summed = cross_entropy["loss"][0] + first["loss"][0]  # type: ignore[index]
    assert other["loss"][0] == pytest.approx(summed, rel=1e-4)  # type: ignore[index]
    assert [step for step, _ in first["history"]] == [1, 2]  # type: ignore[attr-defined]
    assert len(first["gradient_norm"]) == len(first["loss"]) == 2  # type: ignore[arg-type]
    # The second half is one step, which has no spread.
    assert first["norm_spread"] == {"deviation_over_mean": 0.0, "p95_over_p5": 1.0}


def test_seeds_differ_in_their_batches_too(monkeypatch: pytest.MonkeyPatch) -> None:
    length = Length(steps=1, crop=32, batch_size=2, train_crops=4, val_crops=2)
    torch.manual_seed(0)
    model = study_train.small_unet()
    monkeypatch.setattr(study_train, "small_unet", lambda: copy.deepcopy(model))
    losses = [study_train.train(Run("dice", 0.1, seed), length, NUCLEI)["loss"] for seed in (0, 1)]
    assert losses[0] != losses[1]


# The study as a whole


def test_killed_study_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "records"
    arguments = [*TINY, "--only", "share10-dice", "--out", str(out)]
    command = [sys.executable, "-W", "ignore", str(BENCHMARKS / "study_segmentation.py"), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(out.glob("*.json")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.json")}
    assert 1 <= len(before) < 3, "not killed in the middle"
    trained = []
    real = study_train.train
    monkeypatch.setattr(study_train, "train", lambda run, *rest: trained.append(run.name) or real(run, *rest))
    results = tmp_path / "results.json"
    study.main([*arguments, "--results", str(results)])
    assert sorted([*trained, *(path.stem for path in before)]) == [
        "share10-dice-seed0",
        "share10-dice-seed1",
        "share10-dice-seed2",
    ]
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in before.items())
    assert "45 of 48 runs are still to be done" in capsys.readouterr().out
    assert not results.exists()  # no half results


@pytest.fixture
def whole_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments of a study whose trainings are made up."""
    monkeypatch.setattr(study_train, "train", lambda run, length, data: made_up(run))
    paths = ("--out", tmp_path / "records", "--results", tmp_path / "results.json", "--page-file", tmp_path / "page.md")
    return [*TINY, *map(str, paths)]


def test_results_and_page(tmp_path: Path, whole_study: list[str]) -> None:
    study.main(whole_study)
    results = json.loads((tmp_path / "results.json").read_text())
    assert len(results["runs"]) == 3 * (len(LOSSES) + 9)
    assert results["length"]["steps"] == 2
    assert results["data"] == "nuclei"
    assert results["threads"] == 1
    assert {"commit", "uncommitted_changes", "python", "versions", "device"} <= set(results)
    assert results["runs"][0]["gradient_norm"] == [1.0, 0.5]
    page = (tmp_path / "page.md").read_text()
    assert "| Dice copes better with extreme imbalance than cross entropy | **supported** |" in page
    assert "| 1% | Dice | 0.705 ± 0.005 | +0.202 (+0.196 to +0.209), supported | 0.60 ± 0.00 | 2.00 ± 0.00 |" in page
    assert "| dice, 10% foreground | 0.50x | 0.50x to 0.50x | 1.10x | not supported |" in page
    assert all((tmp_path / "assets" / f"study_segmentation_{name}.svg").is_file() for name in ("shares", "norms"))
    assert str(tmp_path) not in page + (tmp_path / "results.json").read_text()  # no path of this machine


def test_page_comes_from_the_results_alone(tmp_path: Path, whole_study: list[str]) -> None:
    study.main(whole_study)
    written = {path: path.read_bytes() for path in (tmp_path / "page.md", *(tmp_path / "assets").iterdir())}
    for path in (*written, *(tmp_path / "records").iterdir()):
        path.unlink()
    study.main([*whole_study, "--page"])
    assert {path: path.read_bytes() for path in written} == written


def test_records_of_another_length_do_not_count(tmp_path: Path, whole_study: list[str]) -> None:
    study.main(whole_study)
    header = {"data": "nuclei", "length": json.loads((tmp_path / "results.json").read_text())["length"]}
    run = planned(1)[0]
    assert study.read_record(tmp_path / "records", run, header) is not None
    longer = header | {"length": header["length"] | {"steps": 3}}
    assert study.read_record(tmp_path / "records", run, longer) is None
    assert study.read_record(tmp_path / "records", run, header | {"data": "other"}) is None


def test_committed_page_is_that_of_the_committed_results(tmp_path: Path) -> None:
    study.main(["--page", "--page-file", str(tmp_path / "page.md")])
    assert (tmp_path / "page.md").read_text() == (ROOT / "docs" / "study_segmentation.md").read_text()
    results = json.loads(study.RESULTS.read_text())
    judged = {claim.saying: claim.verdict for claim in claims_of(results["runs"])}
    assert {claim["saying"]: claim["verdict"] for claim in results["claims"]} == judged
