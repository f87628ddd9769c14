"""The CEL compiler, without the command line that its package imports with it.

`import cel` loads typer, prompt_toolkit and rich for `cel.cli`, which costs every process that evaluates rules 0.2 s of its
start. An empty module in that place leaves the compiler as it is.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from alert_rules.rules.cel_cost import CelError, CelSyntaxError, Reading, read_expression

_CLI = "cel.cli"


def _import() -> Any:
    held = sys.modules.get(_CLI)
    sys.modules[_CLI] = held or ModuleType(_CLI)
    try:
        return importlib.import_module("cel")
    finally:
        if held is None:
            del sys.modules[_CLI]


_compile = _import().compile


def compile_expression(text: str) -> tuple[Any, Reading]:
    """Compile an expression that is known to be cheap; return the program and what its text tells.

    Raises CelError where it is refused, with the library's words where it is no expression.
    """
    try:
        read = read_expression(text)
    except CelSyntaxError:
        _compiled(text)
        raise
    return _compiled(text), read


def _compiled(text: str) -> Any:
    try:
        return _compile(text)
    except ValueError as error:
        first = str(error).partition("\n")[0]
        why = first.partition("ERROR: ")[2].removeprefix("<input>:") or first
        raise CelError(f"this is no CEL expression: {why}") from None
