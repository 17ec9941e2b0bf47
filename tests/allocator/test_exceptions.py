"""Facts about the error classes: their built-in base classes and pickling.

`test_misuse.py` makes the core raise each class.
"""

from __future__ import annotations

import pickle

import pytest
import swapcore as sc
from helpers.errors import ERRNOS
from swapcore import exceptions

BUILTIN = {
    sc.InvalidArgumentError: ValueError,
    sc.EntryGoneError: FileNotFoundError,
    sc.AlreadyCachedError: FileExistsError,
    sc.GroupExistsError: FileExistsError,
    sc.SwapMemoryError: MemoryError,
    sc.TooManySwapfilesError: PermissionError,
    sc.TaskKilledError: ProcessLookupError,
}


def test_every_public_error_has_an_errno_or_is_an_invariant() -> None:
    public = {getattr(exceptions, name) for name in exceptions.__all__}
    assert public == {*ERRNOS, sc.SwapError, sc.InvariantError}


@pytest.mark.parametrize(("error_class", "number"), ERRNOS.items())
def test_error_is_an_os_error_of_its_builtin_class_and_pickles(
    error_class: type[OSError], number: int
) -> None:
    error = error_class(number, "slot 7 is over the limit 3")
    for base in (sc.SwapError, OSError, BUILTIN.get(error_class, OSError)):
        assert isinstance(error, base)
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is error_class
    for one in (error, back):
        assert (one.errno, one.strerror) == (number, "slot 7 is over the limit 3")


def test_invariant_error_is_an_assertion_without_errno_and_pickles() -> None:
    error = sc.InvariantError("I2: cluster 4 is on two lists")
    assert isinstance(error, AssertionError)
    assert not hasattr(error, "errno")
    assert str(pickle.loads(pickle.dumps(error))) == "I2: cluster 4 is on two lists"
