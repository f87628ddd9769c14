"""What may be shown of secrets, and how people refer to them instead of writing them out.

A reference is `env:NAME` or `file:PATH`; the worker that needs the value reads it there. References are no secrets:
they are shown, stored and exported as they are.
"""

from __future__ import annotations

import re
from typing import Any

SECRET = "<secret>"  # noqa: S105 - what is shown in a secret's place

_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:.+")
_USERINFO = re.compile(r"(?<=//)([^/?#\s:@]*):(?!\d+(?:[/?#]|$)).*(?=@)")  # A password may hold a slash that was not escaped.
_PASSWORD_PARAMETER = re.compile(r"(?<=[?&]password=)[^&#\s]+")
_SENSITIVE = re.compile(r"auth|cookie|token|secret|passw|api-?key|credential|signature", re.IGNORECASE)


def is_reference(text: str) -> bool:
    """Whether the text names a place of a secret (`env:NAME`, `file:PATH`) in the place of one."""
    return _REFERENCE.fullmatch(text) is not None


def is_sensitive(name: str) -> bool:
    """Whether a header or parameter of this name usually carries a secret."""
    return _SENSITIVE.search(name) is not None


def hide_password(url: str) -> str:
    """The URL with its password replaced, before the host or as a parameter; other texts unchanged."""
    return _PASSWORD_PARAMETER.sub(SECRET, _USERINFO.sub(rf"\1:{SECRET}", url))


def hide_values(value: Any) -> Any:
    """The same value with every text in it replaced, except references and the names of a mapping."""
    if isinstance(value, dict):
        return {key: hide_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [hide_values(item) for item in value]
    return value if isinstance(value, str) and is_reference(value) else SECRET
