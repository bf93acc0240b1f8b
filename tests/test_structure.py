"""The shape of the package: who may import whom, how long a file may be, and what every public loss must say."""

import ast
import importlib.metadata
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cases import LOSSES
from matchloss import _core, assigners, criteria, encoders, losses
from mutants import FAULTS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "matchloss"
FILES = sorted(PACKAGE.rglob("*.py"))
IDS = [str(file.relative_to(PACKAGE)) for file in FILES]

# Each layer may import those before it, and itself; layers of one line do not know each other.
LAYERS = (
    {"_annotations"},
    {"types", "_core"},
    {"geometry"},
    {"kernels"},
    {"losses", "assigners", "encoders", "postprocess", "evaluation"},
    {"criteria"},
    {"catalogue", "plots", "explain"},
    {"recipes"},
    {"bench"},
    {"cli"},
    {"__main__"},
)
HEAVY = {"matplotlib", "monai", "transformers", "lightning_fabric", "skimage", "numba", "triton", "PIL", "tensorboard"}


def layer_of(name: str) -> int:
    return next(number for number, layer in enumerate(LAYERS) if name in layer)


def imported(file: Path) -> list[str]:
    """Dotted names of the matchloss modules that a file imports, relative ones resolved."""
    here = ("matchloss", *file.relative_to(PACKAGE).with_suffix("").parts)
    names = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(here[: len(here) - node.level]) if node.level else ""
            whole = ".".join(part for part in (base, node.module) if part)
            names += [f"{whole}.{alias.name}" for alias in node.names]
    return names


def first_part(dotted: str) -> str | None:
    parts = dotted.split(".")
    return parts[1] if parts[0] == "matchloss" and len(parts) > 1 else None


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_imports_point_downwards(file: Path) -> None:
    mine = file.relative_to(PACKAGE).with_suffix("").parts[0]
    if mine == "__init__":
        return
    for name in imported(file):
        other = first_part(name)
        if other is None or other in ("__version__", mine) or not any(other in layer for layer in LAYERS):
            continue
        assert layer_of(other) < layer_of(mine), f"{mine} imports {name}"


def test_every_module_has_a_layer() -> None:
    modules = {file.relative_to(PACKAGE).with_suffix("").parts[0] for file in FILES} - {"__init__"}
    assert modules <= set().union(*LAYERS)


CALLED_BY_OTHERS = "huggingface.py"
"""Its functions are called by transformers' models, with whatever these pass to every loss."""


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_files_stay_readable(file: Path) -> None:
    text = file.read_text()
    assert len(text.splitlines()) <= (300 if "recipes" in file.parts else 250)
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "say in a line what the file is about"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            if file.name != CALLED_BY_OTHERS:
                assert node.args.kwarg is None, f"{node.name} takes **{node.args.kwarg}"  # hides what may be passed
            code = [stmt for stmt in node.body if not is_text(stmt)]
            if code:
                assert code[-1].end_lineno - code[0].lineno < 40, f"{node.name} is too long to take in at a glance"
            for default in (*node.args.defaults, *node.args.kw_defaults):
                assert not isinstance(default, ast.List | ast.Dict | ast.Set), f"{node.name}: mutable default"


def is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def test_import_is_light() -> None:
    """Nothing heavy is loaded by `import matchloss`; those who need it load it where they use it."""
    code = f"import sys, matchloss; print(sorted({HEAVY!r} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_import_costs_little_more_than_torch() -> None:
    code = "import time, torch; start = time.process_time(); import matchloss; print(time.process_time() - start)"
    runs = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(3)]
    assert min(runs) < 0.2


def public(module) -> dict[str, object]:
    return {name: value for name, value in vars(module).items() if not name.startswith("_") and callable(value)}


def test_every_loss_is_a_row_of_the_table() -> None:
    functions = {name for name in public(losses) if name.endswith("_loss")}
    modules = {name for name in public(losses) if name.endswith("Loss")}
    assert functions == {case.name for case in LOSSES}
    assert modules == {case.module.__name__ for case in LOSSES}


def test_file_function_and_module_share_a_name() -> None:
    for case in LOSSES:
        stem = Path(inspect.getfile(case.function)).stem
        assert case.name in (f"{stem}_loss", f"softmax_{stem}_loss", f"sigmoid_{stem}_loss"), (case.name, stem)
        assert case.module.__name__.lower() == case.name.replace("_", "")


SECTIONS = ("Shapes:", "Args:", "Raises:", "Reference:", "Differs:", "Example:")
DOCUMENTED = [case.function for case in LOSSES] + [
    thing for package in (assigners, encoders, criteria) for thing in public(package).values()
]


@pytest.mark.parametrize("thing", dict.fromkeys(DOCUMENTED), ids=lambda thing: thing.__name__)
def test_docstrings_have_their_sections_in_order(thing) -> None:
    doc = inspect.getdoc(thing)
    first, *_ = doc.splitlines()
    assert first.endswith(".")
    places = [doc.find(f"\n{section}") for section in SECTIONS]
    assert all(place > 0 for place in places), [s for s, place in zip(SECTIONS, places, strict=True) if place < 0]
    assert places == sorted(places)
    assert re.search(r"\n\n    \S.*=", doc[: places[0]]), "the formula, indented, stands before the shapes"
    assert ">>> " in doc[places[-1] :]


@pytest.mark.parametrize("case", {case.name: case for case in LOSSES}.values(), ids=lambda case: case.name)
def test_docstrings_name_every_option(case) -> None:
    doc = inspect.getdoc(case.function)
    args = doc[doc.index("\nArgs:") : doc.index("\nRaises:")]
    if "others: as in" in args:
        return  # the softmax form of the same file names them
    named = {word.strip() for line in re.findall(r"^    ([\w, ]+):", args, re.M) for word in line.split(",")}
    options = list(inspect.signature(case.function).parameters)[2:]
    shapes = doc[doc.index("\nShapes:") : doc.index("\nArgs:")]
    missing = [option for option in options if option not in named and f"{option}:" not in shapes]
    assert not missing


def test_nothing_is_left_to_do() -> None:
    for file in FILES:
        assert not re.search(r"\b(TODO|FIXME|XXX)\b", file.read_text()), file


def test_numba_is_hidden_on_purpose_only(pytestconfig: pytest.Config) -> None:
    """Or every kernel's tests would be skipped, and plain forms compared with themselves."""
    hidden = pytestconfig.pluginmanager.hasplugin("no_numba")
    installed = any(one.metadata["Name"] == "numba" for one in importlib.metadata.distributions())
    assert _core.has_numba() == (installed and not hidden)


def test_faults_to_plant_are_still_to_be_planted() -> None:
    """`make mutants` takes too long to run each time; a fault whose place is gone would be noticed late."""
    gone = [fault for fault in FAULTS if fault.old not in (PACKAGE / fault.file).read_text()]
    assert not gone
