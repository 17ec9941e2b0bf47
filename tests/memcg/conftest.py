"""Fixtures: a `Scene` of each hierarchy. `Scene.end` runs after the test, when no variable holds folios."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from helpers.memcg_scenes import Scene

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def mode() -> str:
    """Returns the mode of the scenes, see docs/steps.md. A test's parameter ``mode`` replaces it."""
    return "canon"


@pytest.fixture
def scenes() -> Iterator[Callable[..., Scene]]:
    """Returns a function that makes a `Scene`; after the test, `Scene.end` runs for each scene."""
    made: list[Scene] = []

    def make(*of: str, **options: Any) -> Scene:  # noqa: ANN401 - the options of `Scene`
        made.append(Scene(*of, **options))
        return made[-1]

    yield make
    for scene in made:
        scene.end()


@pytest.fixture
def v1(scenes: Callable[..., Scene], mode: str) -> Scene:
    """Returns a `Scene`, which is a subsystem with groups and named folios, of cgroup v1."""
    return scenes(mode, "v1")


@pytest.fixture
def v2(scenes: Callable[..., Scene], mode: str) -> Scene:
    """Returns a `Scene`, which is a subsystem with groups and named folios, of cgroup v2."""
    return scenes(mode)
