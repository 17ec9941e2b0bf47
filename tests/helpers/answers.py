"""A plugin of mypy: an answer of swapcore whose type contains `Any` is an error.

An answer is the result of a function or method of swapcore, or an attribute. The option
``--disallow-any-expr`` of mypy cannot stand in for the plugin, because the option also reports each `Any` of
NumPy, such as the sum of an array.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mypy.plugin import Plugin

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy.plugin import AttributeContext, FunctionContext, MethodContext
    from mypy.types import Type

    Context = AttributeContext | FunctionContext | MethodContext

OF_NUMPY = re.compile(r"(?:builtins\.)?tuple\[Any, \.\.\.\]|numpy\.generic\[Any\]")
"""Types of NumPy that are written with `Any`: a shape of any length, and an element of any type."""


def refuse_any(context: Context) -> Type:
    """Reports an answer whose type contains `Any`."""
    answer = (
        context.default_attr_type if hasattr(context, "default_attr_type") else context.default_return_type
    )
    if "Any" in OF_NUMPY.sub("", str(answer)):
        context.api.fail(f"swapcore answers with {answer}", context.context)
    return answer


class Answers(Plugin):
    """Looks at the answers of the functions, methods and attributes of swapcore."""

    def look(self, fullname: str) -> Callable[[Context], Type] | None:
        """Returns the function that looks at an answer of ``fullname``, or None for other packages."""
        return refuse_any if fullname.startswith("swapcore.") else None

    get_function_hook = get_method_hook = get_attribute_hook = get_class_attribute_hook = look


def plugin(_version: str) -> type[Plugin]:
    """Returns the plugin; mypy calls this function."""
    return Answers
