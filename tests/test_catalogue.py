"""The catalogue is the import lines and the docstrings; the reference is written from it."""

import doctest
import inspect
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from matchloss import catalogue, losses
from matchloss.catalogue import Entry, doc_parts, entries, print_catalogue

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))
import build  # noqa: E402
import reference_pages  # noqa: E402
import results_page  # noqa: E402

EVERYTHING = [entry for package in catalogue.PACKAGES.values() for entry in entries(package)]
over_entries = pytest.mark.parametrize("entry", EVERYTHING, ids=lambda entry: entry.name)


def public(package: object) -> set[str]:
    return {name for name, value in vars(package).items() if not name.startswith("_") and callable(value)}


def test_every_public_name_has_one_entry() -> None:
    for package in catalogue.PACKAGES.values():
        names = [entry.name for entry in entries(package)]
        assert len(set(names)) == len(names)
        assert set(names) | {entry.module for entry in entries(package)} - {""} == public(package)


@over_entries
def test_an_entry_is_whole(entry: Entry) -> None:
    assert entry.heading
    assert entry.summary.endswith(".")
    assert "=" in entry.formula or "∝" in entry.formula
    assert any(character.isdigit() for character in entry.reference), "a year"
    assert entry.options
    assert Path(inspect.getsourcefile(entry.value)).stem == entry.file
    if entry.name.endswith("_loss"):
        assert entry.module.lower() == entry.name.replace("_", "")
        assert issubclass(getattr(losses, entry.module), losses.L1Loss.__base__)


def test_order_and_headings_are_those_of_the_source() -> None:
    source = inspect.getsource(losses)
    names = [entry.name for entry in entries()]
    assert names == sorted(names, key=lambda name: source.index(f"{name} as {name}"))
    for entry in entries():
        above = source[: source.index(f"{entry.name} as {entry.name}")]
        assert entry.heading == above.rpartition("\n# ")[2].partition("\n")[0]


def test_lines_without_a_heading_are_an_error_and_private_ones_are_left_out() -> None:
    with pytest.raises(ValueError, match=r"expected a '# Heading' above the import of l1, got none"):
        catalogue._import_lines("from .l1 import l1_loss\n")
    source = (
        '"""Doc."""\nimport os\n# One\nfrom .a import b as b, _c as _c\n# Two\nfrom .d import e as f\nfrom x import g\n'
    )
    assert catalogue._import_lines(source) == [("One", "a", "b"), ("Two", "d", "f")]


def test_parts_of_a_docstring() -> None:
    def documented() -> None:
        """One line.

            a = b
            c = d

        When to use it:
        and when not.

        Args:
            one: first,
                and more.

        Differs:
            In nothing.
        """

    parts = doc_parts(documented)
    assert parts == {
        "summary": "One line.",
        "formula": "a = b\nc = d",
        "text": "When to use it:\nand when not.",
        "Args": "one: first,\n    and more.",
        "Differs": "In nothing.",
    }
    assert doc_parts(object())["formula"] == ""


def test_it_reads_a_package_that_is_no_folder(tmp_path: Path) -> None:
    archive = tmp_path / "package.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in (ROOT / "src" / "matchloss").rglob("*.py"):
            file.write(path, path.relative_to(ROOT / "src"))
    code = "import matchloss.catalogue as c; print(c.__file__); print(*(entry.name for entry in c.entries()))"
    environment = {**os.environ, "PYTHONPATH": str(archive)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    where, names = done.stdout.splitlines()
    assert "package.zip" in where
    assert names.split() == [entry.name for entry in entries()]


def test_the_printed_catalogue_fits_and_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    print_catalogue()
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    firsts = [line.split()[0] for line in lines if line and not line.startswith(" ")]
    for entry in EVERYTHING:
        assert entry.name in firsts
        assert any(line.startswith(entry.heading) for line in lines)
    starts = {line.index(EVERYTHING[0].summary[:10]) for line in lines if EVERYTHING[0].name in line.split()[:1]}
    assert all(line[min(starts) - 1] == " " for line in lines if line.startswith("l1_loss")), "aligned"


def test_without_rich_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(ModuleNotFoundError, match=r"expected rich .*matchloss\[train\]"):
        print_catalogue()


@over_entries
def test_the_examples_of_a_page_run_by_themselves(entry: Entry) -> None:
    page = reference_pages.loss_page(entry, [], {}, figure=False)
    assert page.startswith(f"# {entry.name}\n")
    text = page.replace("```python", "").replace("```", "")
    examples = doctest.DocTestParser().get_doctest(text, {}, entry.name, None, 0)
    assert len(examples.examples) >= 3
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert runner.run(examples, out=report.append).failed == 0, "".join(report)


@over_entries
def test_a_page_names_every_option(entry: Entry) -> None:
    page = reference_pages.loss_page(entry, [], {}, figure=False)
    call = page[page.index("## Call") : page.index("## Shapes")]
    for option in entry.options:
        assert f"    {option}: " in call
    assert ("    *," in call) == bool(entry.options)
    assert "torch." not in call
    titles = ["Call", "Shapes and units", "Options", "Raises", "Reference", "Differs", "Example"]
    assert [line[3:] for line in page.splitlines() if line.startswith("## ")] == titles


def test_missing_sections_stop_the_build() -> None:
    def bare_loss() -> None:
        """A loss.

        Args:
            one: first.
        """

    with pytest.raises(reference_pages.DocsError, match="bare_loss: its docstring lacks formula, Shapes, Raises"):
        reference_pages.check([replace(EVERYTHING[0], name="bare_loss", value=bare_loss)])


def test_names_outside_the_import_lines_stop_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    build.check_complete(EVERYTHING)
    monkeypatch.setattr(losses, "stray_loss", losses.l1_loss, raising=False)
    with pytest.raises(reference_pages.DocsError, match=r"stray_loss: it is public in matchloss\.losses"):
        build.check_complete(EVERYTHING)


def test_prose_keeps_what_it_says() -> None:
    text = "Take :func:`l1_loss` or ``a_b`` or `c*d`, not :func:`later_loss`; (N, *) with 0 < p_t > [1] \\."
    got = reference_pages.prose(text, {"l1_loss": "l1_loss.md"})
    assert got == (
        r"Take [`l1_loss`](l1_loss.md) or `a_b` or `c*d`, not `later_loss`; (N, \*) with 0 &lt; p\_t &gt; \[1\] \\."
    )


def test_items_have_their_defaults_and_continue_over_lines() -> None:
    got = reference_pages.items("one: first,\n    and: more.\ntwo, three: (*) last.", {}, {"one": None})
    assert got == "- **`one`** = `None`: first, and: more.\n- **`two, three`**: (\\*) last."
    with pytest.raises(reference_pages.DocsError, match="expected 'name: text' lines"):
        reference_pages.items("nothing", {}, {})


PROVENANCE = {"commit": "0123456789abcdef", "versions": {"torch": "2.4", "kornia": None}, "device": "a_cpu"}


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (PROVENANCE, "commit 0123456789ab; versions torch 2.4; device a\\_cpu."),
        (PROVENANCE | {"uncommitted_changes": True}, "commit 0123456789ab with uncommitted changes; versions"),
        ({"machine": PROVENANCE, "rows": []}, "commit 0123456789ab; versions torch 2.4; device a\\_cpu."),
        ([{"loss": "dice"}], "commit not recorded; versions not recorded; device not recorded."),
    ],
)
def test_measurements_say_where_they_come_from(data: object, told: str, tmp_path: Path) -> None:
    (tmp_path / "times.json").write_text(json.dumps(data))
    page = results_page.results_page(tmp_path, tmp_path)
    assert f"From `times.json`: {told}" in page


def test_measurements_become_tables_whatever_their_form(tmp_path: Path) -> None:
    rows = [{"loss": "a|b", "median": {"ours": 1.23456, "peer": 2}}, {"loss": "c", "hit": True, "spread": [1, 2.0]}]
    data = PROVENANCE | {"rows": rows, "by_name": {"x": {"n": 1}, "y": {"n": None}}, "note": "short", "empty": []}
    (tmp_path / "times.json").write_text(json.dumps(data))
    page = results_page.results_page(tmp_path, tmp_path)
    assert "| loss | median ours | median peer | hit | spread |\n| --- | ---: | ---: | ---: | --- |\n" in page
    assert "| a&#124;b | 1.235 | 2 | - | - |\n| c | - | - | yes | 1, 2 |" in page
    assert "| name | n |" in page
    assert "| y | - |" in page
    assert "| note |\n| --- |\n| short |" in page
    assert "empty" not in page


def test_a_results_file_with_its_own_page_is_linked_and_a_broken_one_named(tmp_path: Path) -> None:
    assert "no results file yet" in results_page.results_page(tmp_path, tmp_path)
    (tmp_path / "study.json").write_text(json.dumps(PROVENANCE | {"runs": [{"iou": 0.5}]}))
    (tmp_path / "study.md").write_text("# Study")
    page = results_page.results_page(tmp_path, tmp_path)
    assert "(../study.md)" in page
    assert "0.5" not in page
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(reference_pages.DocsError, match=r"study\.json cannot be read as JSON"):
        results_page.results_page(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('<script async src="https://a.b/c.js"></script>', ["https://a.b/c.js"]),
        ("<link rel=stylesheet href=//fonts.b/c>", ["//fonts.b/c"]),
        ('<img alt="x" src="http://a.b/c.png">', ["http://a.b/c.png"]),
        ("<style>@import 'https://a.b/c.css'; p { background: url(//a.b/d.png) }</style>", ["https://a.b", "//a.b/d"]),
        ('<a href="https://arxiv.org/abs/1">paper</a><img src="assets/x.svg">', []),
        ('<svg xmlns="http://www.w3.org/2000/svg"></svg><script>var base="https://x"</script>', []),
    ],
)
def test_pages_that_load_from_elsewhere_are_found(text: str, found: list[str], tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(text)
    got = build.external_resources(tmp_path)
    assert len(got) == len(found)
    for line, address in zip(got, found, strict=True):
        assert line.startswith(f"page.html loads {address}")


def test_the_navigation_holds_every_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    groups: dict[str, list[Entry]] = {}
    for entry in EVERYTHING:
        groups.setdefault(entry.heading, []).append(entry)
    listed = json.dumps(build.navigation(groups))
    for page in (ROOT / "docs").glob("*.md"):
        assert f'"{page.name}"' in listed
    for entry in EVERYTHING:
        assert f'"reference/{entry.name}.md"' in listed
    (tmp_path / "study.md").write_text("# A page that a script writes")
    monkeypatch.setattr(build, "DOCS", tmp_path)
    assert '"study.md"' in json.dumps(build.navigation(groups))


def test_the_types_page_has_fields_and_methods() -> None:
    import matchloss

    things = {"Targets": matchloss.Targets, "reference": matchloss.reference}
    page = reference_pages.parts_page("Types", "All of them.", "matchloss", things, {})
    assert "- `valid`: `(B, M)` bool, False where padded." in page
    assert "- `box_format`\n" in page
    assert "### Targets.from_list" in page
    assert "- **`normalized`**: True for fractions of the image size." in page
    assert ">>> from matchloss import reference\n" in page
