"""Ends a long call in the thread of the test with SIGALRM, whose handler raises an error."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class AlarmError(Exception):
    """The error that the handler of SIGALRM raises."""


def ring(_number: int, _frame: object) -> None:
    """Handles SIGALRM: raises `AlarmError` in the running call."""
    raise AlarmError


@contextmanager
def alarm_after(seconds: float) -> Iterator[None]:
    """Raises `AlarmError` in the body of the ``with`` statement after ``seconds``."""
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
