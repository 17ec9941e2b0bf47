"""Finds the imports of the Python package: at the top of modules, in functions, and for type checkers."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from helpers.layers import Sources, Upward

PACKAGE = "swapcore"


@dataclass
class Package(Sources):
    """The sources of the package. A room is a module or a folder."""

    suffix = ".py"
    root = "__init__.py"
    above_all = {"__init__.py", "__main__.py"}  # noqa: RUF012 - as the base class says

    def imported(self, file: str) -> set[str]:
        """Returns the rooms of the package that any line of a file imports."""
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
        return {part[1] for part in parts if part[0] == PACKAGE and len(part) > 1} & self.levels.keys()

    def upward(self) -> list[Upward]:
        """Returns the imports of rooms of the same or a higher layer."""
        return sorted(
            Upward(file, self.room_of(file), called, f"import {PACKAGE}.{called}")
            for file in self.texts
            if self.room_of(file) in self.levels
            for called in self.imported(file)
            if self.is_upward(self.room_of(file), called)
        )
