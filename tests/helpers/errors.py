"""The errno of each error class of the package."""

from __future__ import annotations

import errno

import swapcore as sc

ERRNOS: dict[type[OSError], int] = {
    sc.SwapFullError: errno.ENOSPC,
    sc.InvalidArgumentError: errno.EINVAL,
    sc.EntryGoneError: errno.ENOENT,
    sc.AlreadyCachedError: errno.EEXIST,
    sc.GroupExistsError: errno.EEXIST,
    sc.SwapMemoryError: errno.ENOMEM,
    sc.SwapBusyError: errno.EBUSY,
    sc.TooManySwapfilesError: errno.EPERM,
    sc.RefOverflowError: errno.EOVERFLOW,
    sc.SwapIOError: errno.EIO,
    sc.TaskKilledError: errno.ESRCH,
}
"""The errno of each error class. A `SwapIOError` has EIO unless the failed storage gave another errno."""
