"""Fixtures: a machine with zswap, and a function that makes machines."""

from __future__ import annotations

import pytest
from helpers.virtual_facts import Machine, Machines, machines

__all__ = ["machines"]


@pytest.fixture
def machine(machines: Machines) -> Machine:
    """Returns a machine with zswap."""
    return machines(zswap="lz4")
