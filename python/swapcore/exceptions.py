"""The errors that swapcore raises: one class for each errno that the kernel's swap code returns.

Each class with an errno is also an `OSError`, so ``except OSError as error: error.errno`` works in code that
does not import swapcore. The Rust binding finds a class by its name and raises ``Class(errno, message)``.
"""

from __future__ import annotations

import errno

__all__ = [
    "AlreadyCachedError",
    "EntryGoneError",
    "GroupExistsError",
    "InvalidArgumentError",
    "InvariantError",
    "RefOverflowError",
    "SwapBusyError",
    "SwapError",
    "SwapFullError",
    "SwapIOError",
    "SwapMemoryError",
    "TaskKilledError",
    "TooManySwapfilesError",
]


class SwapError(Exception):
    """Base class of every error that swapcore raises on purpose."""


class SwapFullError(SwapError, OSError):
    """Says that no run of the requested order is free (ENOSPC). Kernel: ENOMEM of `folio_alloc_swap`."""


class SwapIOError(SwapError, OSError):
    """Says that a storage could not read or write (errno of the system); the data stays in its old place."""


class InvalidArgumentError(SwapError, OSError, ValueError):
    """Says that an argument is outside its range (EINVAL); the call changed no state."""


class EntryGoneError(SwapError, FileNotFoundError):
    """Says that an entry or device is not in use, or is no longer in use (ENOENT)."""


class AlreadyCachedError(SwapError, FileExistsError):
    """Says that a slot or folio is in the swap cache already (EEXIST)."""


class GroupExistsError(SwapError, FileExistsError):
    """Says that a memory cgroup has a group of that name already (EEXIST). Kernel: EEXIST of `mkdir`."""


class SwapMemoryError(SwapError, OSError, MemoryError):
    """Says that memory has run out, or that a limit or policy of a group refused a charge (ENOMEM)."""


class TaskKilledError(SwapError, ProcessLookupError):
    """Says that the OOM killer has ended the task of an address space (ESRCH); see the switch ``oom``."""


class SwapBusyError(SwapError, OSError):
    """Says that a device, storage, folio or group is in use, or that a folio is locked (EBUSY)."""


class TooManySwapfilesError(SwapError, PermissionError):
    """Says that all swap types are taken (EPERM). Kernel: `alloc_swap_info`."""


class RefOverflowError(SwapError, OSError):
    """Says that a slot's reference count cannot count one more reference (EOVERFLOW)."""


class InvariantError(SwapError, AssertionError):
    """Names a broken invariant, which is a bug in swapcore and never bad input; the error has no errno."""


def require_list(name: str, given: object) -> None:
    """Refuses a text or a class where a caller passes several of them.

    A text is a sequence of characters, so without this check the first character would be taken for a name.

    Args:
        name: Name of the argument.
        given: The argument.

    Raises:
        InvalidArgumentError: EINVAL; the argument is one text or one class.
    """
    if isinstance(given, (str, bytes, type)):
        shown = given.__name__ if isinstance(given, type) else repr(given)
        raise invalid(f"{name} {shown} is one, not several: give a list, such as [{shown}]")


def invalid(message: str) -> InvalidArgumentError:
    """Makes the error that the modules of this package raise for an argument that is out of its range."""
    return InvalidArgumentError(errno.EINVAL, message)
