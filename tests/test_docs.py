"""Every code block of the documentation runs and prints what it says."""

import doctest
import re
from pathlib import Path

import pytest

PAGES = sorted(Path(__file__).parents[1].glob("docs/**/*.md"))
FENCE = re.compile(r"^```.*$", re.MULTILINE)
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_there_are_pages() -> None:
    assert {"focal.md", "cross_entropy.md"} <= {page.name for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_of_a_page(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for block in PYTHON_BLOCK.findall(text):
        assert block.startswith(">>> "), f"{page.name}: a block that is not run: {block!r}"
    # Doctest would read the closing fence as output; an empty line keeps the line numbers.
    examples = doctest.DocTestParser().get_doctest(FENCE.sub("", text), {}, page.name, str(page), 0)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    failed = runner.run(examples, out=report.append).failed
    assert failed == 0, "".join(report)
