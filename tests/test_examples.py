"""The examples run as they stand in the README, for two steps."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
NEEDS = {"hf_trainer": ["accelerate"], "lightning_module": ["lightning"]}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_it_trains_two_steps(script: Path, tmp_path: Path) -> None:
    for name in NEEDS.get(script.stem, []):
        pytest.importorskip(name)
    run = subprocess.run(
        [sys.executable, str(script), "--steps", "2"],
        cwd=tmp_path,  # whatever it writes
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    losses = [float(number) for number in re.findall(r"loss\W+([\d.]+)", run.stdout)]
    assert losses
    assert all(1 < loss < 50 for loss in losses)
    assert "60 images, 3 classes" in run.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_it_is_short(script: Path) -> None:
    text = script.read_text()
    assert len(text.splitlines()) <= 90
    assert ast.get_docstring(ast.parse(text))


def test_the_readme_lists_every_script() -> None:
    listed = re.findall(r"^\| `(\w+\.py)`", (ROOT / "examples" / "README.md").read_text(), re.M)
    assert sorted(listed) == [script.name for script in SCRIPTS]
    assert len(listed) == 3
