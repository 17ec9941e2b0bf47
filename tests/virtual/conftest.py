"""The machines of the tests of virtual devices."""

from helpers.virtual_facts import lz4, machine, machines

__all__ = ["lz4", "machine", "machines"]
