"""A task's directory on this machine: ours while we live, anybody's to remove afterwards."""

import fcntl
import logging
import shutil
from pathlib import Path
from typing import BinaryIO

logger = logging.getLogger(__name__)

LOCK = "lock"


class Scratch:
    """A directory whose lock the system lets go when its process ends, however that happens."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        """Where it is, once opened."""
        self._lock: BinaryIO | None = None

    def open(self) -> Path:
        """Make the directory, empty, and hold it."""
        while True:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory.mkdir(parents=True)
            self._lock = (self.directory / LOCK).open("wb")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            if (self.directory / LOCK).exists():
                return self.directory
            # Before it was held, a trainer that began on this disk took it for left.
            self._lock.close()

    def close(self) -> None:
        """Remove the directory and all that is in it."""
        shutil.rmtree(self.directory, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()


def clear_left(parent: Path) -> None:
    """Remove what killed trainers left; their checkpoints are with ingest. Those at work are left alone."""
    for lock in parent.glob(f"*/{LOCK}"):
        try:
            _remove_if_left(lock)
        except FileNotFoundError:
            continue  # another trainer that begins on this disk was quicker
        except OSError as error:
            logger.warning("what a trainer left could not be removed", extra={"reason": str(error)})


def _remove_if_left(lock: Path) -> None:
    with lock.open("ab") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        shutil.rmtree(lock.parent, ignore_errors=True)
