"""The first picture, the first table and their text in README.md are of one run, docs/compare.json."""

from __future__ import annotations

import copy
import importlib.util
import json

import pytest
from helpers.places import ROOT

SPEC = importlib.util.spec_from_file_location("readme", ROOT / "benches" / "readme.py")
assert SPEC is not None
assert SPEC.loader is not None
readme = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(readme)

TEXT = readme.README.read_text(encoding="utf-8")
RUN = json.loads(readme.RUN.read_text(encoding="utf-8"))


def test_table_and_text_are_those_of_the_saved_run() -> None:
    assert readme.written(TEXT, readme.part(RUN)) == TEXT, "`make readme` measures again"


def test_the_picture_is_of_the_saved_run() -> None:
    assert readme.stamp_of(readme.PICTURE.read_bytes()) == readme.name_of(readme.RUN.read_bytes())


def test_the_picture_is_the_first_of_the_page_and_its_table_the_first() -> None:
    assert TEXT.index("![") > TEXT.index(readme.BEGIN)
    assert TEXT.index("\n|") > TEXT.index(readme.BEGIN)


@pytest.mark.parametrize("key", ["ratio", "fallback_percent", "bytes_per_used_slot"])
@pytest.mark.parametrize("row", range(3))
def test_another_number_of_the_run_is_another_table(row: int, key: str) -> None:
    other = copy.deepcopy(RUN)
    other["comparison"]["results"][row][key] += 1
    assert readme.part(other) != readme.part(RUN)


def test_the_saved_run_is_of_a_release_build_and_bears_out_what_the_page_says() -> None:
    facts = RUN["comparison"]
    assert facts["machine"]["is_debug_build"] is False
    assert facts["warnings"] == []
    table, p3, bitmap = facts["results"]
    assert [one["strategy"] for one in facts["results"]] == list(readme.ABOUT)
    # "`bitmap_ff` is faster on one thread and smaller", and `p3` does more work on more memory.
    assert bitmap["ratio"] < table["ratio"] == 1 < p3["ratio"]
    assert bitmap["bytes_per_used_slot"] < table["bytes_per_used_slot"] < p3["bytes_per_used_slot"]
    assert RUN["static_bytes_of_1_tib"]["swap_table"] < RUN["static_bytes_of_1_tib"]["p3"]


def test_a_stamp_is_read_back_and_leaves_the_picture() -> None:
    picture = readme.PICTURE.read_bytes()
    again = readme.stamped(picture, "other")
    assert readme.stamp_of(again) == "other"
    assert [kind for kind, _ in readme.chunks(again)].count(b"IDAT") == [
        kind for kind, _ in readme.chunks(picture)
    ].count(b"IDAT")


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="has no marks"):
        readme.written("# Page\n", "text\n")


def test_make_readme_runs_the_program() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "\nreadme: $(BUILT)\n\t$(BIN)/python benches/readme.py\n" in makefile
