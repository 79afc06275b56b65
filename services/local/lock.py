"""One platform per home: a lock that the kernel releases even when we are killed."""

import fcntl
import json
import os
import struct
from pathlib import Path
from typing import Any

from aimic.errors import ConflictError

# The system's `struct flock` for the whole file, to write: type, whence, start, length, process.
_FLOCK = struct.Struct("hhqqi")
_WHOLE = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


class HomeLock:
    """Holds a file locked while it is open; a file beside it says who runs and where to find it."""

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
        # Renamed into place, so that whoever reads meanwhile finds all of it. The locked file itself can't be: the
        # lock would go with the one that was renamed over.
        new = self._path.with_suffix(".new")
        new.touch(0o600)
        new.write_text(json.dumps(about))
        new.replace(_about(self._path))

    def release(self) -> None:
        """Let go; releasing twice is harmless."""
        if self._descriptor is not None:
            _about(self._path).unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None


def read_holder(path: Path) -> dict[str, Any] | None:
    """What the running platform wrote about itself; None when none runs, nothing while it begins or ends."""
    try:
        with path.open() as handle:
            # Only asked for, never taken: a platform that starts at this moment would be told that one is running.
            kind, *_rest = _FLOCK.unpack(fcntl.fcntl(handle, fcntl.F_OFD_GETLK, _WHOLE))
    except (FileNotFoundError, PermissionError):
        return None
    if kind == fcntl.F_UNLCK:
        return None
    try:
        found: dict[str, Any] = json.loads(_about(path).read_text())
    except FileNotFoundError:
        return {}
    return found


def _about(path: Path) -> Path:
    return path.with_suffix(f".about{path.suffix}")
