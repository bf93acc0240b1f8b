"""MSRA-TD500: boxes turn about their centre, clockwise on the screen, and come back as they were written."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies as st

from matchloss.recipes.data import WordFolder
from matchloss.recipes.data.td500 import read_td500, write_td500
from word_folders import fails, td500


def test_boxes_turn_clockwise_about_their_centre(tmp_path: Path):
    lines = ["0 0 10 5 20 10 0", f"1 1 10 5 20 10 {math.pi / 2:.6f}", f"2 0 20 10 20 10 {math.atan2(3, 4):.8f}", ""]
    data = WordFolder(td500(tmp_path, {"a": "\r\n".join(lines), "b": ""}), "train")
    quads, ignore, texts = data.truth(0)
    # A quarter turn clockwise brings the left end to the top; so the top left corner to the top right.
    quarter = [[25, 0], [25, 20], [15, 20], [15, 0]]
    # Right and down: the first side climbs 3 in 5 of its length, downwards on the screen.
    slanted = [[25, 5], [41, 17], [35, 25], [19, 13]]
    expected = torch.tensor([[[10, 5], [30, 5], [30, 15], [10, 15]], quarter, slanted]).float()
    torch.testing.assert_close(quads, expected, atol=1e-4, rtol=0)
    assert (ignore.tolist(), texts) == ([False, True, False], ["", "", ""])
    assert data.describe() == "2 images, 3 words (1 of them ignored), read as MSRA-TD500"


BAD = {
    "few": ("0 0 1 1 9 9", "line 2 is '0 0 1 1 9 9' with 6 fields; expected index difficulty x y width height angle"),
    "word": ("0 0 1 1 9 x 0", "line 2 is 'x'; expected a finite number"),
    "NaN": ("0 0 1 1 9 9 nan", "line 2 is 'nan'"),
    "negative": ("0 0 1 1 9 -9 0", "line 2 has the size 9 x -9; expected sides of 0 or more"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_lines_raise_or_are_left_out(tmp_path: Path, kind: str):
    line, part = BAD[kind]
    root = td500(tmp_path, {"b": f"0 0 1 1 9 9 0\n{line}\n", "a": "0 0 1 1 0 9 0.3"})
    fails(root, "train/b.gt", part)
    with pytest.warns(UserWarning, match="1 of 2 samples left out"):
        data = WordFolder(root, "train", skip_bad=True)
    assert data.describe().endswith(
        "1 word (1 of them ignored), read as MSRA-TD500, 1 quad ignored as without area, 1 left out"
    )


side = st.floats(0, 900)
box = st.tuples(st.floats(-200, 2000), st.floats(-200, 2000), side, side, st.floats(-3.2, 3.2))


@given(st.lists(st.tuples(box, st.booleans()), max_size=6))
@settings(max_examples=60, deadline=None)
def test_boxes_come_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[tuple[float, ...], bool]]):
    path = tmp_path_factory.mktemp("any") / "a.gt"
    boxes = torch.tensor([row for row, _ in rows], dtype=torch.float64).reshape(-1, 5)
    write_td500(path, boxes, torch.tensor([flag for _, flag in rows], dtype=torch.bool))
    words = read_td500(path)
    assert [word.ignore for word in words] == [flag for _, flag in rows]
    for word, (cx, cy, width, height, angle) in zip(words, boxes.tolist(), strict=True):
        u, v = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
        for k, (along, down) in enumerate([(-1, -1), (1, -1), (1, 1), (-1, 1)]):
            for axis, center in enumerate((cx, cy)):
                expected = center + along * width / 2 * u[axis] + down * height / 2 * v[axis]
                assert abs(word.quad[2 * k + axis] - expected) < 0.03
    if not rows:
        assert path.read_text() == ""


def test_written_lines(tmp_path: Path):
    write_td500(tmp_path / "a.gt", torch.tensor([[20.0, 10, 20, 10, -0.25], [5, 5, 4, 2, 0]]))
    assert (tmp_path / "a.gt").read_bytes() == (
        b"0 0 10.00 5.00 20.00 10.00 -0.250000\n1 0 3.00 4.00 4.00 2.00 0.000000\n"
    )


def test_what_cannot_be_written_is_refused(tmp_path: Path):
    path, one = tmp_path / "a.gt", torch.ones(1, 5)
    for boxes, flags, part in (
        (torch.ones(5), None, r"boxes must be \(n, 5\), got \(5,\)"),
        (one * torch.inf, None, "boxes must be finite"),
        (-one, None, "sides of 0 or more"),
        (one, torch.zeros(2).bool(), r"difficult must be \(1,\), got \(2,\)"),
    ):
        with pytest.raises(ValueError, match=f"write_td500: .*{part}"):
            write_td500(path, boxes, flags)
    assert not path.exists()
