"""Looks into a built wheel: types are shipped, nothing is left out, it imports anywhere. Run by `make wheel`."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main(wheel: str) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    written = {str(file.relative_to(ROOT / "src")) for file in (ROOT / "src").rglob("*.py")} | {"matchloss/py.typed"}
    missing = sorted(written - packed)
    if missing:
        sys.exit(f"{wheel} lacks {', '.join(missing)}")
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(wheel).extractall(folder)
        code = "import matchloss, matchloss.losses as l; print(matchloss.__version__, len(dir(l)), matchloss.__file__)"
        command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {folder!r}); {code}"]
        printed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
        if folder not in printed:
            sys.exit(f"imported something else than the wheel: {printed}")
    print(f"{Path(wheel).name}: {len(packed)} files, imports")


if __name__ == "__main__":
    main(sys.argv[1])
