"""`make fuzz HOURS=8`: rounds of the fuzz suite, each with a seed of its own, until the time is over or something is found."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--first", type=int, default=int.from_bytes(os.urandom(3), "big"), help="the first round, which is its seed")
    options = parser.parse_args()
    ends_at = time.monotonic() + options.hours * 3600
    number = options.first
    while True:
        print(f"round {number} (again: make fuzz FIRST={number}), {max(0.0, ends_at - time.monotonic()) / 3600:.2f} h left", flush=True)
        command = [sys.executable, "-m", "pytest", "tests/fuzz", "-n", "auto", "--timeout", "3600", f"--hypothesis-seed={number}"]
        done = subprocess.run(command, env={**os.environ, "FUZZ_ROUND": str(number)}, check=False)
        if done.returncode:
            return done.returncode
        number += 1
        if time.monotonic() >= ends_at:
            return 0


if __name__ == "__main__":
    sys.exit(main())
