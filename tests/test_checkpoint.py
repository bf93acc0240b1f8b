"""Checkpoint files: atomic, and read without running code."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from matchloss.recipes import checkpoint
from matchloss.recipes.checkpoint import load_checkpoint, save_checkpoint, write_atomically
from matchloss.recipes.errors import RunError


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, lambda file: file.write(b"old"))
    seen = []

    def fail(descriptor: int) -> None:
        seen.append(path.read_bytes())
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, lambda file: file.write(b"new"))
    assert seen == [b"old"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_damaged_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no checkpoint last\.pt in .*: the run has saved none yet"):
        load_checkpoint(tmp_path / "last.pt")
    save_checkpoint(tmp_path / "best.pt", {"weights": torch.zeros(1000)})
    with pytest.raises(RunError, match=r"no checkpoint last\.pt in .*: it has best\.pt"):
        load_checkpoint(tmp_path / "last.pt")
    content = (tmp_path / "best.pt").read_bytes()
    for damaged in (b"", b"text", content[: len(content) // 2]):
        (tmp_path / "best.pt").write_bytes(damaged)
        with pytest.raises(RunError, match=r"cannot read the checkpoint .*best\.pt") as caught:
            load_checkpoint(tmp_path / "best.pt")
        assert "\n" not in str(caught.value)


def test_checkpoint_that_would_run_code_is_not_read(tmp_path: Path) -> None:
    torch.save({"model": SimpleNamespace()}, tmp_path / "last.pt")
    with pytest.raises(RunError, match=r"cannot read the checkpoint .*last\.pt") as caught:
        load_checkpoint(tmp_path / "last.pt")
    assert "\n" not in str(caught.value)
