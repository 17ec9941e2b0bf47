"""The number of random programs that a test runs.

`SWAPCORE_PROGRAMS` multiplies the usual number, which is enough for a change that breaks a common case;
``SWAPCORE_PROGRAMS=20 make test-python`` searches for rare ones.
"""

from __future__ import annotations

import os

FACTOR = max(1, int(os.environ.get("SWAPCORE_PROGRAMS", "1")))


def nr_programs(usual: int) -> int:
    """Returns the number of programs in place of the usual one."""
    return usual * FACTOR
