"""The memory of each owner store, the place for slots' owners, by `owner_memory` and the command line."""

from __future__ import annotations

import json

import pytest
from swapcore.cli import main
from swapcore.running.owners import OWNER_STORES, owner_memory

COSTS = {
    "shadow": (0, 0, 8.0),
    "array": (512 << 20, 0, 8.0),
    "cluster_table": (0, 1024, 10.0),
    "trampoline": (0, 0, 8.0),
}


@pytest.mark.parametrize("store", OWNER_STORES)
def test_a_terabyte_costs_what_the_reference_says(store: str) -> None:
    memory = owner_memory(store)
    assert memory.size_bytes == 1 << 40
    assert (memory.static_bytes, memory.bytes_per_used_cluster, memory.bytes_per_used_slot) == COSTS[store]


def test_one_command_shows_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "--owner-stores", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["owner_store"] for row in rows] == list(OWNER_STORES)
    assert rows[1]["static_bytes"] == 512 << 20
    assert main(["show", "--owner-stores"]) == 0
    out = capsys.readouterr().out
    assert "512M" in out
    assert "1024" in out
