"""Run a part of `make test`, print its time, and fail when it is over its budget (scripts/budget.toml).

python scripts/timed.py SUITE COMMAND…
"""

import subprocess
import sys
import time
import tomllib
from pathlib import Path


def main() -> int:
    """The command's exit status, or 1 when it was fine but too slow."""
    suite, *command = sys.argv[1:]
    minutes = tomllib.loads(Path(__file__).with_name("budget.toml").read_text())[suite]
    started = time.monotonic()
    status = subprocess.call(command)
    spent = (time.monotonic() - started) / 60
    print(f"suite {suite}: {spent:.1f} of {minutes} minutes", flush=True)
    if status == 0 and spent > minutes:
        print(f"suite {suite} is over its budget; make it faster, or move what is slow into a longer command")
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
