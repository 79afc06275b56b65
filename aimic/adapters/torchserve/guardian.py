"""Runs TorchServe and sees to it that nothing of it outlives us: `python -IS guardian.py DIRECTORY COMMAND…`.

A program of its own, with nothing but the standard library. It ends when the command ends or SIGTERM comes, and
kills all that the command started. When its standard input closes, as it does however our process ends, it also
removes DIRECTORY, where all of it worked.
"""

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LOOK_S = 0.2
_LIBC = ctypes.CDLL(None)


def main(directory: str, command: list[str]) -> int:
    """The command's exit code, or 0 when our process is gone."""
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    # Workers whose front died become our children, so that they can be found and ended.
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    front = subprocess.Popen(
        command,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        process_group=0,
        # We have one thread, so that this is safe; it counts when somebody kills the guardian itself.
        preexec_fn=lambda: _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509
    )
    try:
        ended = _watch(front)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _kill_all(front.pid)
    if ended is None:
        shutil.rmtree(directory, ignore_errors=True)
        return 0
    return ended


def _watch(front: "subprocess.Popen[bytes]") -> int | None:
    """Until the front ends (its code), or whoever started us (None)."""
    parent = select.poll()
    parent.register(sys.stdin.fileno(), select.POLLIN | select.POLLHUP)
    while front.poll() is None:
        if parent.poll(_LOOK_S * 1000) and not os.read(sys.stdin.fileno(), 1):
            return None
    return front.returncode


def _kill_all(group: int) -> None:
    """Kill the group, and wait until none of it is left; a process in a dead disk isn't waited for."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
