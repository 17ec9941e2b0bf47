"""The scenes of both hierarchies."""

from __future__ import annotations

import pytest
from helpers.memcg_scenes import Scene


@pytest.fixture
def v1() -> Scene:
    """Returns a scene of the older hierarchy."""
    return Scene(hierarchy="v1")


@pytest.fixture
def v2() -> Scene:
    """Returns a scene of the unified hierarchy."""
    return Scene()
