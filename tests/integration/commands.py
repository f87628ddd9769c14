"""The command as its users have it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

WATCHKEEPER = Path(sys.executable).with_name("watchkeeper")
Run = Callable[..., subprocess.CompletedProcess[str]]
