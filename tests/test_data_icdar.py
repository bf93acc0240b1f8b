"""ICDAR's text files: every spelling of them is read, every damage is told of, and what is written is read back."""

import contextlib
import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies as st

from matchloss.recipes.data import DataError, WordFolder
from matchloss.recipes.data.icdar import read_icdar, write_icdar
from word_folders import fails, icdar

QUAD = (10, 5, 30, 5, 30, 15, 10, 15)
START = "10,5,30,5,30,15,10,15"


def read(tmp_path: Path, content: str | bytes):
    path = tmp_path / "gt_a.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [tuple(word) for word in read_icdar(path)]


SPELLINGS = {
    "plain": (f"{START},Taxi", "Taxi"),
    "commas": (f"{START},$1,200,000", "$1,200,000"),
    "a comma alone": (f"{START},,", ","),
    "spaces": (" 10, 5 ,30,5, 30,15,10,15 ,  Taxi stand ", "Taxi stand"),
    "floats": ("10.0,5.,3e1,5,30,15,10.000,15,Taxi", "Taxi"),
    "no text": (f"{START},", ""),
    "no field": (START, ""),
    "quotes stay": (f'{START},"Taxi"', '"Taxi"'),
    "digits": (f"{START},38,43", "38,43"),
    "line separator": (f"{START},a\u2028b", "a\u2028b"),
    "Arabic": (f"{START},سوق", "سوق"),
}


@pytest.mark.parametrize("kind", SPELLINGS)
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_spellings(tmp_path: Path, kind: str, bom: str, end: str):
    line, text = SPELLINGS[kind]
    first = f"{START},first"
    found = read(tmp_path, bom + end.join([first, line, "", line]) + end)
    assert found == [(QUAD, "first", False), (QUAD, text, False), (QUAD, text, False)]


@pytest.mark.parametrize("text", ["###", "*", " ### "])
def test_unreadable_words_are_ignored(tmp_path: Path, text: str):
    assert read(tmp_path, f"{START},{text}") == [(QUAD, text.strip(), True)]
    assert read(tmp_path, f"{START},###1\n{START},**\n") == [(QUAD, "###1", False), (QUAD, "**", False)]


def test_many_scripts(tmp_path: Path):
    found = read(tmp_path, f"{START},Latin,Taxi,2\n{START},Arabic,###\n{START},None,\n")
    assert found == [(QUAD, "Taxi,2", False), (QUAD, "###", True), (QUAD, "", False)]
    # A word that only looks like a script stays a word.
    assert read(tmp_path, f"{START},Latin,Taxi\n{START},Taxi\n")[0] == (QUAD, "Latin,Taxi", False)
    assert read(tmp_path, f"{START},Latin\n") == [(QUAD, "Latin", False)]


@pytest.mark.parametrize("line", ['10, 5, 30, 15, "Taxi, 2"', '10 5 30 15 "Taxi, 2"', '10,5,30,15,"Taxi, 2"'])
def test_rectangles_of_2013(tmp_path: Path, line: str):
    assert read(tmp_path, f'{line}\r\n0 0 9 8 "say "hi""\r\n1 1 5 5 "###"') == [
        (QUAD, "Taxi, 2", False), ((0, 0, 9, 0, 9, 8, 0, 8), 'say "hi"', False), ((1, 1, 5, 1, 5, 5, 1, 5), "###", True)
    ]  # fmt: skip


BAD = {
    "few": ("10,5,30,15,Taxi", "line 2 is '10,5,30,15,Taxi' with 5 fields; expected x1,y1,x2,y2"),
    "spaces only": ("10 5 30 5 30 15 10 15 Taxi", "line 2 is '10 5 30 5"),
    "word": ("10,5,30,5,30,left,10,15,Taxi", "line 2 is 'left'; expected a finite number"),
    "missing": ("10,5,30,5,30,,10,15,Taxi", "line 2 is ''; expected a finite number"),
    "NaN": ("10,5,30,5,30,nan,10,15,Taxi", "line 2 is 'nan'; expected a finite number"),
    "infinite": ("10,5,30,5,30,1e999,10,15,Taxi", "line 2 is '1e999'; expected a finite number"),
    "far": ("10,5,30,5,30,-1e30,10,15,Taxi", "line 2 holds -1e+30; expected pixels"),
    "rectangle": ('10,5,30,x,"Taxi"', "line 2 is 'x'; expected a finite number"),
    "long": ("1" * 10_000, "line 2 is"),
    "bytes": (b"\xff\xfe\x00", "cannot be read as UTF-8 text"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_lines_raise_or_are_left_out(tmp_path: Path, kind: str):
    line, part = BAD[kind]
    content = f"{START},a\n".encode() + (line if isinstance(line, bytes) else line.encode())
    root = icdar(tmp_path, {"b": content, "a": f"{START},Taxi"})
    fails(root, "gt/gt_b.txt", part)
    with pytest.warns(UserWarning, match="1 of 2 samples left out"):
        assert WordFolder(root, "train", skip_bad=True).names == ["a"]


@given(st.text(), st.lists(st.floats(-5000, 5000), min_size=8, max_size=8))
@settings(max_examples=100, deadline=None)
def test_any_text_is_read_or_told_of(tmp_path_factory: pytest.TempPathFactory, text: str, numbers: list[float]):
    folder = tmp_path_factory.mktemp("any")
    with contextlib.suppress(DataError):  # and nothing else
        read(folder, text.encode("utf-8", "replace"))
    said = " ".join(text.split())
    assert read(folder, f"0,0,1,0,1,1,0,1,x\n{','.join(map(str, numbers))},x{said}".encode("utf-8", "replace"))[1] == (
        tuple(numbers), f"x{said}".encode("utf-8", "replace").decode(), False
    )  # fmt: skip


# Writing


def test_words_come_back(tmp_path: Path):
    quads = torch.tensor(
        [
            [[10.4, 5.5], [30.6, 4.4], [31, 15], [9.9, 16.2]],
            [[20.0, 30], [20, 10], [30, 10], [30, 30]],  # upwards
            [[-3.0, -2], [5, -2], [5, 4], [-3, 4]],  # hangs over the corner
        ]
    )
    path = tmp_path / "res_img_1.txt"
    write_icdar(path, quads, ["a,b", "###", "Ö"])
    assert path.read_bytes().decode().startswith("10,6,31,4,31,15,10,16,a,b\n")
    assert [word.text for word in read_icdar(path)] == ["a,b", "###", "Ö"]
    found = torch.tensor([word.quad for word in read_icdar(path)]).reshape(-1, 4, 2)
    assert torch.equal(found, quads.round())
    write_icdar(path, quads.bfloat16())
    assert path.read_text().splitlines()[1] == "20,30,20,10,30,10,30,30"
    write_icdar(path, torch.zeros(0, 4, 2), [])
    assert path.read_text() == ""


sliver = st.tuples(*[st.floats(0, 30), st.floats(0, 2)] * 4)  # rounded, many of them turn the other way


@given(st.lists(st.tuples(*[st.floats(-300, 3000)] * 8) | sliver, max_size=8))
@settings(max_examples=60, deadline=None)
def test_everything_written_runs_clockwise(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, ...]]):
    path = tmp_path_factory.mktemp("any") / "a.txt"
    quads = torch.tensor(rows, dtype=torch.float64).reshape(-1, 4, 2)
    write_icdar(path, quads)
    lines = path.read_text().splitlines()
    assert len(lines) == len(rows)
    for line, quad in zip(lines, quads.round().tolist(), strict=True):
        numbers = [int(field) for field in line.split(",")]
        points = list(zip(numbers[::2], numbers[1::2], strict=True))
        assert sorted(points) == sorted(map(tuple, quad))
        assert points[0] == tuple(quad[0])
        # The sum that the competition's script forms: not above 0 for a clockwise polygon, y downwards.
        ring = [*points, points[0]]
        assert sum((b[0] - a[0]) * (b[1] + a[1]) for a, b in itertools.pairwise(ring)) <= 0


def test_what_cannot_be_written_is_refused(tmp_path: Path):
    path = tmp_path / "a.txt"
    for quads, texts, part in (
        (torch.zeros(4, 2), None, r"quads must be \(n, 4, 2\), got \(4, 2\)"),
        (torch.full((1, 4, 2), torch.nan), None, "quads must be finite"),
        (torch.zeros(1, 4, 2), [], "texts must be 1 single lines, got 0"),
        (torch.zeros(1, 4, 2), ["a\nb"], "texts must be 1 single lines"),
    ):
        with pytest.raises(ValueError, match=f"write_icdar: {part}"):
            write_icdar(path, quads, texts)
    assert not path.exists()
