"""One platform per home: a lock that the kernel releases even when we are killed."""

import contextlib
import fcntl
import json
import os
import struct
import time
from pathlib import Path
from typing import Any

from aimic.errors import ConflictError

# The system's `struct flock` for the whole file, to write: type, whence, start, length, process.
_FLOCK = struct.Struct("hhqqi")
_WHOLE = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
_LOOKS, _MOMENT_S = 200, 0.005
"""How often, and how far apart, what can't be read is looked at: nobody writes for a second."""


class HomeLock:
    """Holds `up.json` locked while it is open; the file says who runs and where to find it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self, about: dict[str, Any]) -> None:
        """Take the lock and write `about`; ConflictError naming the holder when another has it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _WHOLE)
        except BlockingIOError:
            os.close(descriptor)
            holder = read_holder(self._path) or {}
            raise ConflictError(
                f"AIMIC is already running on {self._path.parent}: process {holder.get('pid', '?')}, "
                f"at {holder.get('url', '?')}. Use that one, stop it with Ctrl-C, or give another --home."
            ) from None
        self._descriptor = descriptor
        self.tell(about)

    def tell(self, about: dict[str, Any]) -> None:
        """Write anew what others read about us; the lock must be held."""
        assert self._descriptor is not None
        # In one write over all that was there: whoever reads meanwhile never finds the file empty, and what is half
        # this and half that is no JSON, so he looks again.
        before = os.fstat(self._descriptor).st_size
        os.pwrite(self._descriptor, json.dumps(about).encode().ljust(before), 0)

    def release(self) -> None:
        """Let go; releasing twice is harmless."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None


def read_holder(path: Path) -> dict[str, Any] | None:
    """What the running platform wrote about itself; None when none runs."""
    try:
        with path.open() as handle:
            for _ in range(_LOOKS):
                handle.seek(0)
                text = handle.read()
                # Only asked for, never taken: a platform that starts at this moment would be told that one is running.
                kind, *_rest = _FLOCK.unpack(fcntl.fcntl(handle, fcntl.F_OFD_GETLK, _WHOLE))
                if kind == fcntl.F_UNLCK:
                    return None
                with contextlib.suppress(ValueError):  # it is being written, and we read half of each
                    found: dict[str, Any] = json.loads(text) if text else {}
                    return found
                time.sleep(_MOMENT_S)
    except (FileNotFoundError, PermissionError):
        return None
    return {}
