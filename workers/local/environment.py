"""Which of our variables a child gets: the workers, which read what `env:NAME` names, get all; the others what any program needs."""

from __future__ import annotations

from collections.abc import Mapping

NAMES = frozenset({"PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "OPENSSL_CONF"})
PREFIXES = ("LC_", "PYTHON", "LD_", "DYLD_", "MALLOC_", "COVERAGE")
"""The locale, the interpreter, the loader, the allocator, and what measures the tests."""


def plain(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that tell a program where it is, and none that may hold a secret."""
    return {name: value for name, value in environment.items() if name in NAMES or name.startswith(PREFIXES)}
