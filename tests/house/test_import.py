"""Facts about ``import swapcore``: it is fast and loads no heavy module."""

from __future__ import annotations

import resource
import subprocess
import sys

import swapcore as sc

BUDGET_SECONDS = 0.050
MIN_ROUNDS = 9
MAX_ROUNDS = 60
HEAVY = ("numpy", "rich", "matplotlib", "importlib.metadata")


def seconds_of(code: str) -> float:
    """Returns the CPU time of ``code`` in s, because on a busy machine the elapsed time is longer."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.check_output([sys.executable, "-c", code])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def loaded_after(code: str) -> set[str]:
    command = [sys.executable, "-c", f"{code}; import sys; print('\\n'.join(sys.modules))"]
    return set(subprocess.check_output(command, text=True).split())


def test_import_takes_under_50_ms_more_than_a_bare_interpreter() -> None:
    bare = ours = float("inf")
    for nr_done in range(1, MAX_ROUNDS + 1):
        # Both commands run in turn, so that a slow moment of the machine affects both. Other processes only
        # add time, so the minimum of many rounds is the cost without other load.
        bare, ours = min(bare, seconds_of("pass")), min(ours, seconds_of("import swapcore"))
        if nr_done >= MIN_ROUNDS and ours - bare < BUDGET_SECONDS:
            break
    assert ours - bare < BUDGET_SECONDS


def test_import_loads_nothing_heavy() -> None:
    loaded = loaded_after("import swapcore")
    assert "swapcore._core" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_command_line_parser_loads_nothing_heavy() -> None:
    assert loaded_after("import swapcore.cli; swapcore.cli._parser()").isdisjoint(HEAVY)


def test_heavy_modules_are_loaded_when_they_are_needed() -> None:
    for name in ("compare", "replay"):
        assert "numpy" in loaded_after(f"import swapcore; swapcore.{name}")


def test_every_public_name_exists_and_the_list_is_sorted() -> None:
    # Each name is in `__all__` once. Ruff checks the order: constants, then classes, then functions.
    assert sorted(set(sc.__all__)) == sorted(sc.__all__)
    for name in sc.__all__:
        assert getattr(sc, name) is not None
    assert set(sc.__all__) <= set(dir(sc))


def test_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(sc, "no_such_name")


def test_public_classes_show_the_public_path() -> None:
    classes = (sc.Swap, sc.SwapDevice, sc.SwapBatch, sc.SwpEntry, sc.Folio, sc.Storage, sc.Trace, sc.Strategy)
    for public in classes:
        assert public.__module__ == "swapcore"
