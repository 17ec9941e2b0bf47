"""The scenes of both hierarchies; each is ended after its test, when the test's folios are gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from helpers.memcg_scenes import Scene

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def mode() -> str:
    """Returns the mode of the scenes; a test with a parameter of this name has other modes too."""
    return "canon"


def ended(scene: Scene) -> Iterator[Scene]:
    """Lends a scene to a test and ends it."""
    yield scene
    scene.end()


@pytest.fixture
def v1(mode: str) -> Iterator[Scene]:
    """Returns a scene of the older hierarchy."""
    yield from ended(Scene(mode, "v1"))


@pytest.fixture
def v2(mode: str) -> Iterator[Scene]:
    """Returns a scene of the unified hierarchy."""
    yield from ended(Scene(mode))
