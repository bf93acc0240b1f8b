"""Compiled code does not outlive the kernels that it was made of."""

from pathlib import Path

from matchloss.kernels._caches import drop_stale_caches


def kernels(folder: Path) -> Path:
    (folder / "one_cpu.py").write_text("a = 1")
    (folder / "two_cpu.py").write_text("b = 1")
    (folder / "__pycache__").mkdir()
    return folder


def compiled(folder: Path) -> Path:
    index = folder / "__pycache__" / "one_cpu.f-1.py311.nbi"
    index.write_text("")
    return index


def test_caches_of_unchanged_kernels_stay(tmp_path: Path) -> None:
    drop_stale_caches(kernels(tmp_path))
    index = compiled(tmp_path)
    drop_stale_caches(tmp_path)
    assert index.exists()


def test_a_change_of_any_kernel_drops_the_caches_of_all(tmp_path: Path) -> None:
    drop_stale_caches(kernels(tmp_path))
    index, other = compiled(tmp_path), tmp_path / "__pycache__" / "mine.py311.nbi"
    other.write_text("")
    (tmp_path / "two_cpu.py").write_text("b = 2")
    drop_stale_caches(tmp_path)
    assert not index.exists()
    assert other.exists()


def test_caches_of_unknown_kernels_are_dropped(tmp_path: Path) -> None:
    index = compiled(kernels(tmp_path))
    drop_stale_caches(tmp_path)
    assert not index.exists()


def test_a_folder_that_is_not_there_is_left_alone(tmp_path: Path) -> None:
    drop_stale_caches(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
