"""This machine's own disk, where bytes are put aside for a while: a full one is told in words, and passes."""

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from aimic.errors import FullError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What the system says when a disk, or our share of it, has no room left."""


@contextmanager
def scarce(place: Path | str) -> Iterator[None]:
    """FullError when the disk under `place` is full. Around whole files: closing one writes what is left of it."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise FullError(
            f"The disk of this machine is full ({error.strerror}), and bytes had to be put aside there for a while. "
            f"What was stored before is kept; make room in {place} and try again."
        ) from error


@contextmanager
def temporary_file() -> Iterator[BinaryIO]:
    """A file without a name, gone after the block; FullError when there is no room for what is written to it."""
    with scarce(_directory()), tempfile.TemporaryFile() as file:
        yield cast("BinaryIO", file)


def _directory() -> str:
    try:
        return tempfile.gettempdir()
    except FileNotFoundError as error:  # asked for the first time, it tries to write, and on a full disk finds none
        raise FullError(
            f"This machine has no directory for temporary files that can be written to ({error.strerror}). What was "
            "stored before is kept; make room on its disk, or set TMPDIR, and try again."
        ) from error
