"""Absolute paths of the repository's folders."""

from __future__ import annotations

from pathlib import Path

ROOT = next(path for path in Path(__file__).resolve().parents if (path / "pyproject.toml").is_file())
"""The root folder of a checkout or of an unpacked sdist."""

DOCS = ROOT / "docs"
RECORDINGS = ROOT / "tests" / "recordings"
