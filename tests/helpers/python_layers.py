"""The imports of the Python package: those of modules, of functions and for type checkers."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from helpers.rust_layers import Upward

PACKAGE = "swapcore"


@dataclass
class Package:
    """The sources of the package by path relative to its folder.

    A module is a file or folder directly below.
    """

    texts: dict[str, str]

    @classmethod
    def read(cls, folder: Path) -> Package:
        """Reads the package's sources."""
        return cls(
            {
                p.relative_to(folder).as_posix(): p.read_text(encoding="utf-8")
                for p in sorted(folder.rglob("*.py"))
            }
        )

    def with_line(self, file: str, line: str) -> Package:
        """Returns the package with one more statement at the end of a file: a seeded violation."""
        return Package({**self.texts, file: f"{self.texts.get(file, '')}\n{line}\n"})

    @cached_property
    def layers(self) -> list[list[str]]:
        """The modules as the package lists them, lowest line first."""
        block = re.search(
            r"^\W*layers:\n(.*?)^\W*end of layers$", self.texts["__init__.py"], re.DOTALL | re.MULTILINE
        )
        assert block, "__init__.py lists the layers"
        return [line.strip("# ").split() for line in block[1].splitlines() if line.strip("# ")]

    @cached_property
    def levels(self) -> dict[str, int]:
        """The number of the line that a module stands in."""
        return {module: level for level, line in enumerate(self.layers) for module in line}

    @property
    def stated(self) -> set[str]:
        """The modules that are listed."""
        return set(self.levels)

    @staticmethod
    def module_of(file: str) -> str:
        """Returns the module that a file belongs to."""
        return file.split("/", maxsplit=1)[0].removesuffix(".py")

    @cached_property
    def modules(self) -> set[str]:
        """The modules that there are; `__init__` and `__main__` are above all."""
        return {self.module_of(file) for file in self.texts} - {"__init__", "__main__"}

    def imported(self, file: str) -> set[str]:
        """Returns the modules of the package that a file imports, wherever in it."""
        folder = [PACKAGE, *Path(file).parent.parts]
        names: set[str] = set()
        for node in ast.walk(ast.parse(self.texts[file])):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = folder[: len(folder) - node.level + 1] if node.level else []
                names.update(
                    ".".join([*base, *filter(None, [node.module]), alias.name]) for alias in node.names
                )
        parts = [name.split(".") for name in names]
        return {part[1] for part in parts if part[0] == PACKAGE and len(part) > 1} & self.stated

    def upward(self) -> list[Upward]:
        """Returns the imports of modules that are not below."""
        found = []
        for file in self.texts:
            module = self.module_of(file)
            if module in self.levels:
                called = (name for name in self.imported(file) if name != module)
                upward = (name for name in called if self.levels[name] >= self.levels[module])
                found += [Upward(file, module, name, f"import {PACKAGE}.{name}") for name in upward]
        return sorted(found)
