"""Checks the layers of a source folder; `rust_layers` and `python_layers` share this code.

A room is a folder or file directly below the source folder. The root file lists the rooms, lowest layer
first, between `layers:` and `end of layers`. A room may call only rooms that an earlier line of this list
names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, order=True)
class Upward:
    """One forbidden call, from a room to a room of the same layer or of a higher layer."""

    file: str
    room: str
    called: str
    by: str

    def __str__(self) -> str:
        return f"{self.file} ({self.room}) calls {self.by} of the room {self.called}, which is not below"


@dataclass
class Sources:
    """The source files of a folder; `texts` maps the relative path of each file to its text."""

    texts: dict[str, str]

    suffix: ClassVar[str]
    root: ClassVar[str]
    """The file that states the layers."""
    above_all: ClassVar[set[str]]
    """Files that may call every room."""

    @classmethod
    def read(cls, folder: Path, **options: object) -> Self:
        """Reads the sources below a folder."""
        paths = sorted(folder.rglob(f"*{cls.suffix}"))
        texts = {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in paths}
        return cls(texts, **options)

    def with_line(self, file: str, line: str) -> Self:
        """Returns the sources with a line added at the end of a file, for a test of a forbidden call."""
        return replace(self, texts={**self.texts, file: f"{self.texts.get(file, '')}\n{line}\n"})

    @cached_property
    def layers(self) -> list[list[str]]:
        """The rooms of each line of the list in the root file, lowest layer first."""
        stated = re.compile(r"^\W*layers:\n(.*?)^\W*end of layers$", re.DOTALL | re.MULTILINE)
        block = stated.search(self.texts[self.root])
        assert block, f"{self.root} lists the layers"
        lines = (line.strip("/!# ") for line in block[1].splitlines())
        return [line.split() for line in lines if line]

    @cached_property
    def levels(self) -> dict[str, int]:
        """The index of the layer of each room; 0 is the lowest layer."""
        return {room: level for level, line in enumerate(self.layers) for room in line}

    @classmethod
    def room_of(cls, file: str) -> str:
        """Returns the room that a file is in."""
        return file.split("/", maxsplit=1)[0].removesuffix(cls.suffix)

    @cached_property
    def rooms(self) -> set[str]:
        """The names of all rooms of the sources, without the files of `above_all`."""
        return {self.room_of(file) for file in self.texts.keys() - self.above_all}

    def is_upward(self, room: str, called: str) -> bool:
        """Says whether a call from ``room`` to ``called`` breaks the order of the layers."""
        return called != room and self.levels[called] >= self.levels[room]
