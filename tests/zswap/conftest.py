"""Fixtures: a `Machine` (a virtual device over a physical one) with zswap, and a function to make more."""

from __future__ import annotations

import pytest
from helpers.virtual_facts import Machine, Machines, machines

__all__ = ["machines"]


@pytest.fixture
def machine(machines: Machines) -> Machine:
    """Returns a `Machine`, which has a virtual device over a physical device, with zswap in front."""
    return machines(zswap="lz4")
