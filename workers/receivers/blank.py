"""Secrets never leave: what a URL holds beyond its privacy form is blanked in every text."""

from __future__ import annotations

import re
from urllib.parse import unquote

from alert_rules.rules.template import cut

ANSWER_LENGTH_MAX = 300
SECRET_LENGTH_MIN = 4


def secrets_of(text: str, shown: str) -> list[str]:
    """The parts of an address that its privacy form does not show."""
    parts = {part for part in re.split(r"[/:@?&=,\s]+", text) if len(part) >= SECRET_LENGTH_MIN and part not in shown}
    return sorted(parts | {unquote(part) for part in parts}, key=len, reverse=True)


def blank(text: str, secrets: list[str]) -> str:
    """The text, of a limited length, with a mark in the place of each secret."""
    for secret in secrets:
        text = text.replace(secret, "****")
    return cut(text, ANSWER_LENGTH_MAX)
