"""Fixtures of the tests of documents of cgroup v2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import swapcore as sc
from helpers.memcg_facts import file_storage

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def swap() -> Iterator[sc.Swap]:
    """Returns a subsystem of v2 with one device and no charge stocks; `Swap.check` runs after the test."""
    made = sc.Swap(switches={"memcg_stock": "off"})
    made.page_cluster = 0
    made.swapon(file_storage(8192))
    yield made
    made.check()
