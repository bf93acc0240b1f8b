"""Where a number comes from: the commit, the versions, the machine."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[3]
"""The repository of an editable install; a wheel's has no history."""
PACKAGES = (
    "matchloss",
    "torch",
    "triton",
    "numpy",
    "numba",
    "scipy",
    "monai",
    "kornia",
    "fvcore",
    "segmentation-models-pytorch",
    "shapely",
    "torchmetrics",
    "torchvision",
    "transformers",
    "ultralytics",
)


def provenance(device: str = "cpu") -> dict[str, object]:
    """What a results file says about itself; no host names and no paths."""
    commit, changed = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--", "src", "benchmarks")
    return {
        "commit": commit or "unknown",
        "uncommitted_changes": bool(changed),  # the commit alone does not give the code that was measured
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "device": device_name(device),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def device_name(device: str) -> str:
    """The maker's name of the GPU or the processor."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(*arguments: str) -> str:
    if not (ROOT / "benchmarks").is_dir():  # or the history would be that of whoever installed the wheel
        return ""
    try:
        return subprocess.check_output(
            ("git", "-C", str(ROOT), *arguments), text=True, stderr=subprocess.DEVNULL
        ).strip()
    except (OSError, subprocess.CalledProcessError):  # an unpacked archive has no history
        return ""
