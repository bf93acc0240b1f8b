"""What becomes of measurements: the tables of the documentation, the figures of growth, the run on a GPU."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "docs"), str(ROOT / "benchmarks")]

from bench_page import bench_tables, faster_peers  # noqa: E402
from growth_figures import draw_growth, growth_blocks  # noqa: E402
from results_page import results_page  # noqa: E402

import gpu  # noqa: E402
import gpu_rows  # noqa: E402
import growth  # noqa: E402
from matchloss.bench.plans import Plan  # noqa: E402
from matchloss.bench.rows import Row  # noqa: E402
from matchloss.bench.setting import Setting  # noqa: E402


def variant(kind: str, times_ours: float, differs: str = "") -> dict[str, Any]:
    numbers = {"milliseconds": {"median": 10 * times_ours}, "peak_mib": 4.0, "operators": 7}
    return {"kind": kind, "times_ours": times_ours, "differs": differs} | numbers


def made_up() -> dict[str, Any]:
    row = {
        "title": "GIoU",
        "size": "5 pairs",
        "dtype": "float32",
        "group": "with aims",
        "variants": {
            "matchloss": variant("ours", 1.0),
            "matchloss, plain torch": variant("plain torch", 3.0),
            "faster": variant("peer", 0.5),
            "near": variant("peer", 0.97),
            "less": variant("formula", 0.25, "no Dice"),
            "slower": variant("peer", 4.96),
        },
        "aims": [
            {"aim": "at least 5x as fast as slower", "measured": 4.96, "hit": False},
            {"aim": "at least 2x as fast as slower", "measured": 4.96, "hit": True},
        ],
    }
    other = row | {"title": "l1_loss", "group": "losses", "aims": [], "variants": {"matchloss": variant("ours", 1.0)}}
    return {"rows": [row, other], "device": "a processor", "threads": 2, "commit": "abc", "versions": {}}


def test_tables_say_what_was_hit_and_who_is_faster() -> None:
    page = "\n\n".join(bench_tables(made_up()))
    assert "Measured on a processor, 2 threads." in page
    assert "### Operations with aims: 1 of 2 hit" in page
    assert "**missed**: at least 5x as fast as slower (measured 4.96)<br>hit: at least 2x" in page
    assert "plain torch 3.00<br>faster 0.50" in page
    assert "| l1\\_loss<br><small>5 pairs, float32</small> | 10 |" in page


def test_who_is_faster_in_words() -> None:
    lines = faster_peers(made_up()["rows"]).splitlines()
    assert lines == [
        "- GIoU (5 pairs): faster takes 0.50 of our time.",
        "- GIoU (5 pairs): less takes 0.25 of our time; its value is another: no Dice.",
    ]
    assert faster_peers(made_up()["rows"][1:]).startswith("Nowhere")


def test_page_says_that_no_gpu_was_measured(tmp_path: Path) -> None:
    (tmp_path / "bench_cpu.json").write_text(json.dumps(made_up()))
    assert "There is no measurement on a GPU yet" in results_page(tmp_path, tmp_path)
    failing = made_up() | {"failures": {"CIoU float32": "RuntimeError: no"}, "tests": {"last": "3 passed"}}
    (tmp_path / "gpu_x.json").write_text(json.dumps(failing))
    page = results_page(tmp_path, tmp_path)
    assert "no measurement on a GPU" not in page
    assert "- CIoU float32: RuntimeError: no" in page
    assert "The tests of the kernels on this device: 3 passed." in page


def test_growth_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    facts = {"milliseconds": 2.0, "peak_mib": 0.0}
    points = [{"at": at, "variants": {"matchloss": facts, "other": facts}} for at in (1, 10)]
    points.append({"at": 100, "variants": {"matchloss": facts}})  # the other one became too slow
    sweeps = [{"family": "a b", "over": over, "fixed": "c", "points": points} for over in ("x", "y")]
    results = tmp_path / "growth_cpu.json"
    results.write_text(json.dumps({"sweeps": sweeps, "device": "d", "threads": 1}))
    (figure,) = draw_growth(results, tmp_path)
    assert figure.name == "growth_a_b.svg"
    assert f"figures/{figure.name}" in "".join(growth_blocks(json.loads(results.read_text())))


def test_growth_leaves_out_who_became_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "TOO_SLOW", 5.0)
    asked = []

    def measured(row: int, setting: Setting, slow: set[str]) -> dict[str, dict[str, float]]:
        asked.append(set(slow))
        return {"matchloss": {"milliseconds": 1.0}, "peer": {"milliseconds": 10.0}}

    monkeypatch.setattr(growth, "measure", measured)
    growth.grow(growth.Sweep("f", "o", (1, 2), lambda setting, value: value, ""), Setting)
    assert asked == [set(), {"peer"}]


# The run on a GPU


def task(title: str, fails: bool = False) -> gpu_rows.Task:
    def make(setting: Setting) -> Row:
        if fails:
            raise RuntimeError("no such kernel")
        leaf = torch.ones(4, requires_grad=True)
        return Row("4 numbers", lambda: leaf.square().sum(), leaf, plain=False)

    return gpu_rows.Task(Plan(title, "", make), torch.float32)


def test_tasks_have_keys_of_their_own() -> None:
    keys = [one.key for one in gpu_rows.tasks()]
    assert len(set(keys)) == len(keys)
    assert keys[0] == "sigmoid focal, 16 images float32"


def test_one_failure_is_noted_and_the_rest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_rows, "tasks", lambda: iter([task("a"), task("b", fails=True), task("c")]))
    written: list[dict[str, Any]] = []
    out = tmp_path / "gpu.json"

    def write(results: dict[str, Any]) -> None:
        written.append(json.loads(json.dumps(results)))
        out.write_text(json.dumps(results))

    assert gpu_rows.work(out, "cpu", quick=True, read=gpu.read_results, write=write)
    assert written[-1]["done"] == ["a float32", "c float32"]
    assert written[-1]["failures"] == {"b float32": "RuntimeError: no such kernel"}
    assert [len(one["rows"]) for one in written] == [0, 1, 1, 1, 1, 2]  # a file before and after each
    count = len(written)
    assert gpu_rows.work(out, "cpu", quick=True, read=gpu.read_results, write=write)
    assert len(written) == count  # nothing is measured twice


def test_row_that_kills_its_process_is_noted(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    gpu.write_results(out, "cpu", True, gpu.read_results(out) | {"begun": "b float32", "done": ["a float32"]})
    gpu.note_what_broke(out, "cpu", quick=True)
    results = gpu.read_results(out)
    assert results["failures"] == {"b float32": "the process died of it, or it hung"}
    assert "begun" not in results


def test_hanging_worker_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "HANGS", 0.5)
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    assert gpu.watch(worker, tmp_path / "gpu.json", deadline=gpu.time.monotonic() + 30)
    assert worker.returncode is not None
    done = subprocess.Popen([sys.executable, "-c", ""])
    assert not gpu.watch(done, tmp_path / "gpu.json", deadline=gpu.time.monotonic() + 30)
