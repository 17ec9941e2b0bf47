"""Sources whose root file states the order of their rooms, lowest first: what Rust and Python have in common.

A room is a folder or file directly below the folder of the sources. The root file lists the rooms between
`layers:` and `end of layers`. A room may call only the rooms of the lines below its own.
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
    """One call from a room to a room that is not below it."""

    file: str
    room: str
    called: str
    by: str

    def __str__(self) -> str:
        return f"{self.file} ({self.room}) calls {self.by} of the room {self.called}, which is not below"


@dataclass
class Sources:
    """Sources by path relative to their folder."""

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
        """Returns the sources with one more line of code at the end of a file: a seeded violation."""
        return replace(self, texts={**self.texts, file: f"{self.texts.get(file, '')}\n{line}\n"})

    @cached_property
    def layers(self) -> list[list[str]]:
        """The rooms as the root file lists them, lowest line first."""
        stated = re.compile(r"^\W*layers:\n(.*?)^\W*end of layers$", re.DOTALL | re.MULTILINE)
        block = stated.search(self.texts[self.root])
        assert block, f"{self.root} lists the layers"
        lines = (line.strip("/!# ") for line in block[1].splitlines())
        return [line.split() for line in lines if line]

    @cached_property
    def levels(self) -> dict[str, int]:
        """The number of the line that a room stands in."""
        return {room: level for level, line in enumerate(self.layers) for room in line}

    @classmethod
    def room_of(cls, file: str) -> str:
        """Returns the room that a file is in."""
        return file.split("/", maxsplit=1)[0].removesuffix(cls.suffix)

    @cached_property
    def rooms(self) -> set[str]:
        """The rooms that there are."""
        return {self.room_of(file) for file in self.texts.keys() - self.above_all}

    def is_upward(self, room: str, called: str) -> bool:
        """Says whether one room may not call another."""
        return called != room and self.levels[called] >= self.levels[room]
