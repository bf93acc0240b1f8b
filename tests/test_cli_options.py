"""The options of the command line, before anything runs."""

import inspect
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from matchloss import cli
from matchloss.recipes import detect, segment
from matchloss.recipes.settings import TrainSettings


@pytest.mark.parametrize("kind", ["segment", "detect"])
def test_help_comes_without_the_slow_imports(kind: str) -> None:
    slow = {"lightning_fabric", "monai", "transformers", "tensorboard", "faster_coco_eval"}
    code = (
        f"import sys; sys.argv = ['matchloss', 'train', '{kind}', '--help']\n"
        "from matchloss.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print(sorted({slow!r} & set(sys.modules)))"
    )
    wide = {**os.environ, "COLUMNS": "300"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=wide)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert "--time-limit" in done.stdout


@pytest.mark.parametrize(
    ("command", "defaults"),
    [(cli.train_segment, segment.Settings(data="")), (cli.train_detect, detect.Settings(data=""))],
)
def test_options_are_the_settings(command: Callable[..., None], defaults: TrainSettings) -> None:
    options = inspect.signature(command).parameters
    shared = [name for name in options if hasattr(defaults, name)]
    assert len(shared) >= 15
    for name in shared:
        if name not in ("data", "classes"):
            assert options[name].default == getattr(defaults, name), name
