"""Finds the calls between rooms in the text of a Rust crate: paths, `use` groups and method calls.

A room is a folder or file directly below the source folder, see `layers`. A method call has no path. For a
type with methods in more than one room, the name of the method tells the called room. If several rooms define
a method of the same name, the name of the receiver tells the type, if `Crate.receivers` has this name.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.layers import Sources, Upward

if TYPE_CHECKING:
    from collections.abc import Iterable

TOKENS = re.compile(
    r"""
    //[^\n]* | /\*.*?\*/                                  # comments
    | (?<!\w)b?r(?P<hashes>\#*)".*?"(?P=hashes)           # raw strings
    | (?<!\w)b?"(?:\\.|[^"\\])*"                          # strings
    | (?<!\w)b?'(?:\\[^']+|[^'\\\n])'                     # characters, but no lifetimes
    """,
    re.VERBOSE | re.DOTALL,
)
TEST_ITEM = re.compile(
    r"#\[cfg\(test\)\]\s*(?:#\[[^\]]*\]\s*)*(?:pub(?:\([a-z]+\))?\s+)?(?P<item>\w[^;{]*(?P<end>[;{]))"
)
IMPL = re.compile(
    r"(?:^|(?<=[}\];]))\s*(?:unsafe\s+)?impl\b(?:\s*<[^{]*?>)?\s+(?P<head>[^{;]*?)\s*\{", re.MULTILINE
)
TRAIT = re.compile(r"\btrait\s+(?P<name>\w+)[^{;]*\{")
BRACE = re.compile(r"[{}]")
BRACE_OR_FN = re.compile(r"[{}]|\bfn\s+(?P<name>\w+)")
CALL = re.compile(r"(?:(?P<ty>\b[A-Z]\w*)::|\.\s*)(?P<name>[a-z_]\w*)\s*(?:::<[^()]*>)?\(")
USE = re.compile(r"\buse\s+(?P<tree>[^;]+);")
PATH = re.compile(r"\b(?P<path>(?:crate|super|self)(?:::\w+)+)")
TYPE_NAME = re.compile(r"(?:dyn\s+|&\s*(?:'\w+\s+)?(?:mut\s+)?|\w+::)*(?P<name>[A-Za-z]\w*)")


def code_of(text: str) -> str:
    """Returns the code without comments and without the content of strings."""
    return TOKENS.sub(lambda match: "" if match[0].startswith(("//", "/*")) else '""', text)


def block_end(code: str, opening: int) -> int:
    """Returns the index of the brace that closes the block opened at `opening`."""
    depth = 0
    for match in BRACE.finditer(code, opening):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return match.start()
    return len(code)


def without_tests(code: str) -> str:
    """Returns the code without the items under `cfg(test)`, because tests may call every room."""
    while match := TEST_ITEM.search(code):
        end = match.end() if match["end"] == ";" else block_end(code, match.end() - 1) + 1
        code = code[: match.start()] + code[end:]
    return code


@cache
def tested_code_of(text: str) -> str:
    """Returns a file's code without tests; cached, because a test that adds a violation changes one file."""
    return without_tests(code_of(text))


def use_paths(tree: str, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Returns the full path of each name in a `use` tree, with the groups in braces expanded."""
    tree = tree.strip()
    if tree.startswith("{"):
        parts, depth, part = [], 0, ""
        for letter in tree[1 : tree.rindex("}")]:
            depth += {"{": 1, "}": -1}.get(letter, 0)
            if letter == "," and depth == 0:
                parts.append(part)
                part = ""
            else:
                part += letter
        return [path for part in [*parts, part] if part.strip() for path in use_paths(part, prefix)]
    head, separator, rest = tree.partition("::")
    head = head.split(" as ")[0].strip()
    return use_paths(rest, (*prefix, head)) if separator else [(*prefix, head)]


@dataclass(frozen=True)
class Impl:
    """One `impl` or `trait` block: its type, the trait that it implements, and its functions."""

    file: str
    ty: str
    of_trait: str | None
    start: int
    end: int
    functions: frozenset[str]
    is_trait: bool = False


@dataclass
class Crate(Sources):
    """The sources of a crate by path relative to `src`, with `lib.rs` and without unit tests."""

    suffix = ".rs"
    root = "lib.rs"
    above_all = {"lib.rs"}  # noqa: RUF012 - as the base class says

    # Names of folders and files that contain only tests.
    test_only: frozenset[str] = frozenset({"tests.rs"})
    # Names of variables and functions, each with the type that a variable or function of this name has.
    receivers: dict[str, str] = field(default_factory=dict)
    # Types whose method calls are checked although all methods of the type are in one room.
    followed: frozenset[str] = frozenset()
    # Method names that types outside the crate also have, so only the receiver tells the type of a call.
    foreign_names: frozenset[str] = frozenset()

    @cached_property
    def code(self) -> dict[str, str]:
        """The code of each file that is not a test."""
        files = (
            file for file in self.texts if file != "lib.rs" and not self.test_only & set(file.split("/"))
        )
        return {file: tested_code_of(self.texts[file]) for file in files}

    # Paths.

    def absolute(self, file: str, path: tuple[str, ...]) -> tuple[str, ...]:
        """Returns a `crate`, `super` or `self` path relative to the crate's root, and () for other paths."""
        module = list(Path(file).with_suffix("").parts)
        if module[-1] == "mod":
            module.pop()
        names = list(path)
        if names[0] == "crate":
            return tuple(names[1:])
        if names[0] not in {"super", "self"}:
            return ()
        while names and names[0] in {"super", "self"}:
            if names.pop(0) == "super" and module:
                module.pop()
        return (*module, *names)

    def paths_of(self, file: str) -> set[tuple[str, ...]]:
        """Returns every `crate`, `super` or `self` path in a file, relative to the crate's root."""
        code = self.code[file]
        trees = [path for match in USE.finditer(code) for path in use_paths(match["tree"])]
        plain = [tuple(match["path"].split("::")) for match in PATH.finditer(USE.sub("", code))]
        return {path for path in (self.absolute(file, path) for path in trees + plain) if path}

    def upward_paths(self, files: Iterable[str] | None = None) -> list[Upward]:
        """Returns the paths to rooms of the same or a higher layer, also through re-exports of `lib.rs`."""
        found = []
        for file in files or self.code:
            room = self.room_of(file)
            for path in self.paths_of(file):
                by = "crate::" + "::".join(path)
                if path[0] not in self.levels:
                    found.append(Upward(file, room, "lib.rs", by))
                elif self.is_upward(room, path[0]):
                    found.append(Upward(file, room, path[0], by))
        return sorted(found)

    # Methods.

    @cached_property
    def impls(self) -> list[Impl]:
        """Every `impl` and `trait` block."""
        return [impl for file, code in self.code.items() for impl in impls_of(file, code)]

    @cached_property
    def spread_types(self) -> set[str]:
        """Returns the types with inherent methods in more than one room, and the types in `followed`."""
        rooms = defaultdict(set)
        for impl in self.impls:
            if impl.of_trait is None:
                rooms[impl.ty].add(self.room_of(impl.file))
        return {ty for ty, of in rooms.items() if len(of) > 1} | self.followed

    @cached_property
    def definitions(self) -> dict[str, dict[str, set[str]]]:
        """The rooms that define each function, by function name and by the type of its `impl` block."""
        found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for impl in self.impls:
            for name in impl.functions:
                found[name][impl.ty].add(self.room_of(impl.file))
        return found

    @cached_property
    def shared_names(self) -> set[str]:
        """The method names of `spread_types` that more than one room defines."""
        return {
            name
            for name, types in self.definitions.items()
            if types.keys() & self.spread_types and len(set().union(*types.values())) > 1
        }

    def enclosing_type(self, file: str, at: int) -> str | None:
        """Returns the type of the innermost `impl` or `trait` block around an index of a file."""
        inside = [impl for impl in impls_of(file, self.code[file]) if impl.start < at < impl.end]
        return max(inside, key=lambda impl: impl.start).ty if inside else None

    def upward_calls(self, files: Iterable[str] | None = None) -> list[Upward]:
        """Returns the calls of methods that a room of the same or a higher layer defines."""
        found = set()
        for file in files or self.code:
            room, code = self.room_of(file), self.code[file]
            for match in CALL.finditer(code):
                types = self.definitions.get(match["name"], {})
                if not any(self.is_upward(room, called) for called in set().union(*types.values())):
                    continue
                for ty in self.types_called(file, code, match) & types.keys() & self.spread_types:
                    called = types[ty]
                    if room not in called and all(self.is_upward(room, one) for one in called):
                        found.update(Upward(file, room, one, f"{ty}::{match['name']}") for one in called)
        return sorted(found)

    def types_called(self, file: str, code: str, match: re.Match[str]) -> set[str]:
        """Returns the types that a call may mean: the receiver's type, or all types that define the name."""
        name = match["name"]
        if match["ty"]:
            enclosing = self.enclosing_type(file, match.start()) if match["ty"] == "Self" else match["ty"]
            return {enclosing} if enclosing else set()
        receiver = receiver_of(code, match.start())
        ty = self.enclosing_type(file, match.start()) if receiver == "self" else self.receivers.get(receiver)
        if ty in self.definitions[name]:
            return {ty}
        is_plain = name not in self.shared_names and name not in self.foreign_names
        return set(self.definitions[name]) if is_plain else set()

    def traits_filled_above(self) -> set[str]:
        """Returns the traits that a room calls through `dyn` and that a room of a higher layer implements."""
        homes = {impl.ty: self.room_of(impl.file) for impl in self.impls if impl.is_trait}
        called = {match[1] for code in self.code.values() for match in re.finditer(r"\bdyn (\w+)", code)}
        return {
            impl.of_trait
            for impl in self.impls
            if not impl.is_trait
            and impl.of_trait in homes.keys() & called
            and self.is_upward(homes[impl.of_trait], self.room_of(impl.file))
        }

    def upward(self, *files: str) -> list[Upward]:
        """Returns the paths and calls to rooms of the same or a higher layer, in ``files`` or all files."""
        return self.upward_paths(files) + self.upward_calls(files)


@cache
def impls_of(file: str, code: str) -> list[Impl]:
    """Returns the `impl` and `trait` blocks of a file."""
    found = []
    for match in [*IMPL.finditer(code), *TRAIT.finditer(code)]:
        opening = match.end() - 1
        end = block_end(code, opening)
        if match.re is TRAIT:
            ty, of_trait = match["name"], match["name"]
        else:
            *trait, implementor = match["head"].split(" for ", 1)
            ty, of_trait = type_name(implementor), type_name(trait[0]) if trait else None
        functions = frozenset(functions_of(code[opening : end + 1]))
        found.append(Impl(file, ty, of_trait, opening, end, functions, match.re is TRAIT))
    return found


def type_name(text: str) -> str:
    """Returns the name of a type without its path, its reference and its parameters."""
    match = TYPE_NAME.match(text.strip())
    return match["name"] if match else ""


def functions_of(block: str) -> list[str]:
    """Returns the names of the functions directly inside a block. ``block`` includes its outer braces."""
    names, depth = [], 0
    for match in BRACE_OR_FN.finditer(block):
        if match[0] == "{":
            depth += 1
        elif match[0] == "}":
            depth -= 1
        elif depth == 1:
            names.append(match["name"])
    return names


def receiver_of(code: str, dot: int) -> str:
    """Returns the last name of the expression before a dot: a variable, a field, or a called function."""
    end = dot
    while end > 0:
        end = len(code[:end].rstrip())
        last = code[end - 1] if end else ""
        if last == "?":
            end -= 1
        elif last in ")]":
            depth = 0
            while end > 0:
                end -= 1
                depth += {")": 1, "]": 1, "(": -1, "[": -1}.get(code[end], 0)
                if depth == 0:
                    break
        else:
            break
    name = re.search(r"(\w+)$", code[:end])
    return name[1] if name else ""
