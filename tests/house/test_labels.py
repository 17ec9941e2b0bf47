"""Each label that code, tests or docs cite has one definition in docs/, and each definition is cited.

A label is capital letters, perhaps a dash, and one or two digits, perhaps with a small letter: ``OUT3``,
``E1b``, ``M-2``; or ``rule U``. A definition is a row of a table whose first cell is the label alone, a list
item that begins with the label and a colon, or a sentence that begins with ``Rule U is``. A citation is a
label in a comment, a docstring, a message or a name of a test; ``J1 to J9`` cites nine labels. A new word of
the form of a label must be defined, or be in ``ORDINARY``.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import Counter
from functools import cache
from pathlib import Path

from helpers.pages import prose
from helpers.places import DOCS, ROOT

THIS_FILE = Path(__file__).resolve()

LABEL = r"[A-Z]{1,6}-?\d{1,2}[a-z]?"
DEFINITION = re.compile(rf"^(?:\| ({LABEL}) \||- ({LABEL}):|(Rule U) is )", re.MULTILINE)
TOKEN = re.compile(rf"(?<![\w.$/])(?:{LABEL}|[Rr]ule [A-Z]\b)(?!\w|\.\w)")
RANGE = re.compile(r"\b([A-Z]{1,6}-?)(\d{1,2}) to ([A-Z]{1,6}-?)(\d{1,2})\b")
NAME = re.compile(r"\bfn ([a-z]{1,6}\d{1,2}[a-z]?)_|\bdef test_([a-z]{1,6}\d{1,2}[a-z]?)_")

# Words of the form of a label that are caches, encodings, a compressor, and a generator of random numbers.
ORDINARY = {"L1", "L2", "UTF-8", "LZ4", "PCG64"}

# Patterns of citations of a list or document that the repository does not have.
RIDDLES = re.compile(
    r"\b[A-L]\.\d\b"  # a section with a letter
    r"|\b[Ss]ections? (?:\d|[A-Z]\b)"
    r"|\b[Ii]tems? \d"
    r"|^\W*\d\.\d{1,2}(?:$|:|,| and )"  # a comment that begins with the number of a section
    r"|, \d+ (?:and|to) \d+ of the list\b"
    r"|\bthe reference's\b|\bof the reference\b|\bthe (?:behaviour|allocator) reference\b"
)


def docs() -> list[Path]:
    """Returns the pages that may define labels. The numbers of facts in conformance tables are no labels."""
    pages = [*DOCS.glob("*.md"), *ROOT.glob("*.md")]
    return sorted(page for page in pages if not page.name.startswith("conformance"))


def definitions() -> Counter[str]:
    """Counts the definitions of each label."""
    found: Counter[str] = Counter()
    for page in docs():
        for groups in DEFINITION.findall(page.read_text(encoding="utf-8")):
            found["".join(groups).replace("Rule", "rule")] += 1
    return found


def rust_comments(text: str) -> str:
    """Returns the comments of Rust code, one in each line."""
    return "\n".join(re.findall(r"//[/!]?(.*)", text))


def python_words(text: str) -> str:
    """Returns the comments, docstrings and assertion messages of Python code, one in each line."""
    words = [token.string.lstrip("# ") for token in tokenize.generate_tokens(io.StringIO(text).readline)
             if token.type == tokenize.COMMENT]  # fmt: skip
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr | ast.Assert):
            value = node.value if isinstance(node, ast.Expr) else node.msg
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                words.append(value.value)
    return "\n".join(words)


def sources() -> list[Path]:
    """Returns all files in which the test looks for labels."""
    code = [
        path
        for folder in ("rust", "python", "tests", "benches", "examples")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".rs", ".py", ".pyi"} and path != THIS_FILE
    ]
    return sorted([*code, *docs()])


@cache
def words_of(path: Path) -> str:
    """Returns the prose of a file: the comments of code, or the text of a page without code blocks."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".rs":
        return rust_comments(text)
    if path.suffix in {".py", ".pyi"}:
        return python_words(text)
    return prose(path)


def cited_in(words: str) -> set[str]:
    """Returns the labels in prose, with every label of a range."""
    found = {token.replace("Rule", "rule") for token in TOKEN.findall(words)}
    for kind, first, same, last in RANGE.findall(words):
        if kind == same:
            found |= {f"{kind}{number}" for number in range(int(first), int(last) + 1)}
    return found


def citations(path: Path) -> set[str]:
    """Returns the labels in the prose of a file, in names of tests, and in numbers that `check()` prints."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return cited_in(DEFINITION.sub("", words_of(path)))
    named = {"".join(groups) for groups in NAME.findall(text)}
    printed = set(re.findall(r'"(I\d{1,2})\b', text))
    return cited_in(words_of(path)) | {name[0].upper() + name[1:] for name in named} | printed


def test_each_label_has_one_definition() -> None:
    assert {label: nr for label, nr in definitions().items() if nr != 1} == {}
    assert len(definitions()) > 100


def test_cited_labels_are_defined() -> None:
    known = set(definitions()) | ORDINARY
    undefined = {path.relative_to(ROOT): cited_in(words_of(path)) - known for path in sources()}
    assert {path: labels for path, labels in undefined.items() if labels} == {}


def test_no_list_is_cited_that_the_repository_does_not_have() -> None:
    lines = {path.relative_to(ROOT): words_of(path).splitlines() for path in sources()}
    assert [(path, line) for path, found in lines.items() for line in found if RIDDLES.search(line)] == []


def test_every_definition_is_cited() -> None:
    cited = set().union(*(citations(path) for path in sources()))
    assert set(definitions()) - cited == set()


def test_the_reader_finds_labels_and_riddles() -> None:
    assert cited_in("Steps OUT1 to OUT3, E1b, M-2 and rule U; x86-64, 6.18, v2, `I5`.") == {
        "OUT1", "OUT2", "OUT3", "E1b", "M-2", "rule U", "I5"
    }  # fmt: skip
    assert cited_in("UTF-8 and Q17.") - ORDINARY == {"Q17"}
    assert cited_in("K1-K3") == {"K1", "K3"}
    for riddle in ("Step I.4.", "section H", "Item 6: x", "items 7, 8", "4.1", "of the reference", "(F.8)"):
        assert RIDDLES.search(riddle), riddle
    for plain in (
        "6.18 stable",
        "a ratio of 1.4",
        "1.1 to 1.8 times",
        "the head of the list",
        "section of a file",
    ):
        assert RIDDLES.search(plain) is None, plain
    assert rust_comments("let x = 1; // OUT1\n/// IN2\nlet y = A1;") == " OUT1\n IN2"
    python = '"""E1."""\nx = "K9"  # J2\nassert x, "I3: no"\n'
    assert python_words(python).split("\n") == ["J2", "E1.", "I3: no"]
