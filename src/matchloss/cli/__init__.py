"""The command line: `matchloss train ...`, `evaluate`, `predict`, `report`, `explain`, `list`,
`plot`.

What is slow to import is imported inside the commands, so that `--help` answers soon.
"""

from matchloss.cli.commands import app, main
from matchloss.cli.train_detect import train_detect
from matchloss.cli.train_segment import train_segment
from matchloss.cli.train_text import train_text

__all__ = ["app", "main", "train_detect", "train_segment", "train_text"]
