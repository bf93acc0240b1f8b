"""Test modules import `cases` and `reference` by name, and run with one thread: small tensors only lose by more."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)
