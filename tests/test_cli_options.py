"""The options of the command line, before anything runs."""

import inspect
import os
import subprocess
import sys

from matchloss import cli
from matchloss.recipes.segment import Settings


def test_help_comes_without_the_slow_imports() -> None:
    code = (
        "import sys; sys.argv = ['matchloss', 'train', 'segment', '--help']\n"
        "from matchloss.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('lightning_fabric', 'monai', 'transformers', 'tensorboard') if name in sys.modules])"
    )
    wide = {**os.environ, "COLUMNS": "300"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=wide)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert "--time-limit" in done.stdout


def test_options_are_the_settings() -> None:
    options = inspect.signature(cli.train_segment).parameters
    defaults = Settings(data="")
    shared = [name for name in options if hasattr(defaults, name)]
    assert len(shared) >= 15
    for name in shared:
        if name not in ("data", "classes"):
            assert options[name].default == getattr(defaults, name), name
