"""Repeats the run of a saved result, because the JSON of a result describes its run completely."""

from __future__ import annotations

import ast
import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swapcore._core import PAGE_SIZE
from swapcore.exceptions import invalid
from swapcore.results.accesses import AccessReplay, LimitSweep
from swapcore.storage import File, Ghost, Null, Ram, Zram
from swapcore.storage.zswap import Zswap

from .accesses import LIMITS, AccessRun
from .accesses import run as run_accesses
from .compare import compare
from .folios import FolioRun
from .folios import run as run_folios
from .stacks import CONTENTS

if TYPE_CHECKING:
    import os

    from swapcore.policy import MemcgHooks
    from swapcore.results.comparison import Comparison
    from swapcore.results.folios import FolioReplay

    from .compare import WorkloadOptions
    from .stacks import Storage

__all__ = ["rerun"]

_DEVICES = {kind.__name__: kind for kind in (Null, Ram, Zram, File, Ghost)}


def rerun(
    saved: str | os.PathLike[str] | dict[str, Any],
) -> Comparison | FolioReplay | AccessReplay | LimitSweep:
    """Repeats the run of a saved result; counters and placement are equal to the saved run, times are new.

    A run on a `Faulty` storage cannot be repeated, because the saved representation of the storage does not
    hold the plan of faults.

    Args:
        saved: The path of a JSON file, or the parsed JSON, of any result of `compare`, `replay`,
            `replay_accesses` or `replay_over_limits`.

    Returns:
        A new result of the same class.

    Raises:
        InvalidArgumentError: EINVAL; no such result, a workload that was an object, a `Faulty` storage
            ("cannot be made again"), a storage in a file that is gone, or hooks that cannot be made without
            arguments.
        OSError: The file cannot be read.
    """
    data = saved if isinstance(saved, dict) else json.loads(Path(saved).read_text(encoding="utf-8"))
    match data:
        case {"runs": [*runs]}:
            return LimitSweep(tuple(_accesses(one) for one in runs))
        case {"results": [*results], "trace": str(trace)}:
            return compare(
                trace,
                [one["strategy"] for one in results],
                rounds=data["rounds"],
                size_pages=data["size_pages"],
                seed=data["seed"],
                **_made_up(data),
            )
        case {"read_percent": percent, "trace": str(trace)}:
            return run_folios(FolioRun(trace=trace, read_percent=percent, **_shared(data)))
        case {"workload": _, "accesses": _}:
            return _accesses(data)
    raise invalid("the JSON is no result of compare, replay, replay_accesses or replay_over_limits")


def _shared(data: dict[str, Any]) -> dict[str, Any]:
    """Returns the options that replays of folios and replays of page accesses have in common."""
    zswap = data["zswap_options"]
    return {
        "storage": _device(data["storage"]),
        "ghost": _ghost(data["ghost"]),
        "zswap": None if zswap is None else Zswap(**zswap),
        "memory": data["memory_pages"] * PAGE_SIZE,
        **{name: data[name] for name in CONTENTS},
        **{name: data.get(name) for name in ("nr_ops", "workload_seed")},
    }


def _made_up(data: dict[str, Any]) -> WorkloadOptions:
    """Returns the parameters of the workload of a comparison; a saved comparison always has ``nr_ops``."""
    made_for_pages = data.get("workload_size_pages")
    if made_for_pages is None:
        return {}
    return {
        "nr_ops": data["nr_ops"],
        "workload_seed": data["workload_seed"],
        "workload_size_pages": made_for_pages,
    }


def _accesses(data: dict[str, Any]) -> AccessReplay:
    own = {name: data[name] for name in ("workload", *LIMITS, "swappiness", "switches", "memcg")}
    return run_accesses(AccessRun(policy=_policy(data["policy"]), **own, **_shared(data)))


def _device(shown: str | None) -> Storage | None:
    """Makes a storage from its representation, which is a call with literal arguments."""
    if shown is None:
        return None
    try:
        call: Any = ast.parse(shown, mode="eval").body
        kind = _DEVICES[call.func.id]
        args = [ast.literal_eval(arg) for arg in call.args]
        keywords = {keyword.arg or "": ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (AttributeError, KeyError, SyntaxError, ValueError):
        raise invalid(f"the storage {shown} cannot be made again from its description") from None
    if kind is File and not Path(args[0]).exists():
        raise invalid(f"the storage {shown} cannot be opened again: the file is gone")
    return kind(*args, **keywords)


def _ghost(shown: str | None) -> Ghost | None:
    ghost = _device(shown)
    if ghost is not None and not isinstance(ghost, Ghost):
        raise invalid(f"{shown} is no ghost")
    return ghost


def _policy(name: str | None) -> MemcgHooks | None:
    """Makes the hooks from the name of the hooks' class."""
    if name is None:
        return None
    module, _, attribute = name.partition(":")
    try:
        hooks: MemcgHooks = getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, TypeError) as error:
        raise invalid(f"the hooks {name} cannot be made again: {error}") from error
    return hooks
