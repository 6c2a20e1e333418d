"""The page of the capper's promises names tests that are there."""

import re

import pytest
from docs_tables import DOCS

PAGE = (DOCS / "promises.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)


@pytest.mark.parametrize(("path", "name"), NAMED, ids=lambda one: one.rpartition("/")[2])
def test_every_named_test_is_there(path, name):
    text = (DOCS.parent / path).read_text(encoding="utf-8")
    assert re.search(rf"^(?:async )?(?:def|class) {name}\b", text, re.MULTILINE)


def test_every_line_of_its_tables_names_one():
    lines = [one for one in PAGE.splitlines() if one.startswith("| ")]
    headings = [one for one in lines if one.endswith("| Test |")]
    assert len(headings) == 4
    assert len(lines) - len(headings) == len(NAMED)
