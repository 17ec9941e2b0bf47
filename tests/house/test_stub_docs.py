"""Facts about the docs of the Python API: the stubs are their one source, and `help` shows the same."""

from __future__ import annotations

import ast
import inspect
import pydoc
from importlib.resources import files

import pytest
from swapcore import _core

STUBS = ("_core.pyi", "_core_memcg.pyi", "_core_replay.pyi")

# Data, which has no docstring at run time.
DATA = {"PAGE_SIZE", "SWAPFILE_CLUSTER", "MAX_ORDER", "MAX_SWAPFILES", "is_debug_build", "Strategy.names"}


def docstring(statement: ast.stmt | None) -> str | None:
    """Returns the text of a statement that is a docstring."""
    match statement:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return inspect.cleandoc(text)
        case _:
            return None


def docs_of(stub: str) -> dict[str, str]:
    """Returns the docs of classes, functions, methods and attributes by their names."""
    tree = ast.parse(files("swapcore").joinpath(stub).read_text(encoding="utf-8"))
    docs = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            docs[node.name] = docstring(node.body[0])
        if isinstance(node, ast.ClassDef):
            for member, following in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(member, ast.FunctionDef):
                    docs.setdefault(f"{node.name}.{member.name}", docstring(member.body[0]))
                elif isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
                    docs[f"{node.name}.{member.target.id}"] = docstring(following)
    return {name: doc for name, doc in docs.items() if doc}


DOCS = {name: doc for stub in STUBS for name, doc in docs_of(stub).items()}


def public(owner: object) -> list[str]:
    """Returns the names of an object of its own that have no underscore in front."""
    return [name for name in vars(owner) if not name.startswith("_")]


CLASSES = {name: getattr(_core, name) for name in public(_core) if inspect.isclass(getattr(_core, name))}
MEMBERS = {f"{name}.{member}": (cls, member) for name, cls in CLASSES.items() for member in public(cls)}
FUNCTIONS = {name: getattr(_core, name) for name in public(_core) if inspect.isroutine(getattr(_core, name))}
OBJECTS = {
    **CLASSES,
    **FUNCTIONS,
    **{name: getattr(cls, member) for name, (cls, member) in MEMBERS.items()},
}


def test_the_stubs_document_every_public_name_and_no_other() -> None:
    # Files of a group are attributes that the class does not have.
    documented = {
        name for name in DOCS if "._" not in name and not name.startswith(("_", "MemCgroup.memory_"))
    }
    assert OBJECTS.keys() - DATA == documented - DATA
    assert set(public(_core)) <= OBJECTS.keys() | DATA


@pytest.mark.parametrize("name", sorted(OBJECTS.keys() - DATA))
def test_help_says_what_the_stub_says(name: str) -> None:
    thing = OBJECTS[name]
    assert DOCS[name]
    assert inspect.getdoc(thing) == DOCS[name]
    shown = pydoc.plain(pydoc.render_doc(thing))
    assert [line for line in DOCS[name].splitlines() if line.strip() not in shown] == []


def test_a_method_shows_its_signature_beside_its_doc() -> None:
    assert str(inspect.signature(_core.Swap.alloc)) == "(self, /, order=0, *, cpu=None)"
    assert "alloc(self, /, order=0, *, cpu=None)" in pydoc.plain(pydoc.render_doc(_core.Swap.alloc))
