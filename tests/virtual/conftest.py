"""Fixtures: `machine` has a virtual device, `lz4` also has zswap, and `machines` makes further machines."""

from helpers.virtual_facts import lz4, machine, machines

__all__ = ["lz4", "machine", "machines"]
