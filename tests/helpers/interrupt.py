"""A signal that ends a long call of the test's own thread."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class AlarmError(Exception):
    """Raised by the handler of the signal."""


def ring(_number: int, _frame: object) -> None:
    """Ends the call that runs."""
    raise AlarmError


@contextmanager
def alarm_after(seconds: float) -> Iterator[None]:
    """Raises `AlarmError` in the body after a time."""
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
