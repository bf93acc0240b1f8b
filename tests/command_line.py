"""Calls the console script's own function, for the tests of the command line."""

import sys
from typing import NamedTuple

import pytest

from matchloss import cli


class Result(NamedTuple):
    """The exit code and what was printed."""

    code: int
    out: str
    err: str


def call_cli(patch: pytest.MonkeyPatch, *arguments: object) -> int:
    patch.setattr(sys, "argv", ["matchloss", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as end:
        return end.code or 0
    return 0


def run_cli(patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str], *arguments: object) -> Result:
    code = call_cli(patch, *arguments)
    printed = capture.readouterr()
    return Result(code, printed.out, printed.err)


def assert_one_line(result: Result, *words: str) -> None:
    assert result.code == 2, result.err
    lines = result.err.strip().splitlines()
    assert len(lines) == 1, result.err
    assert lines[0].startswith("error: ")
    assert "Traceback" not in result.out + result.err
    for word in words:
        assert word in lines[0]
