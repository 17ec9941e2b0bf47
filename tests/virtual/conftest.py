"""Fixtures: machines with a virtual device, with zswap (`lz4`) and without."""

from helpers.virtual_facts import lz4, machine, machines

__all__ = ["lz4", "machine", "machines"]
