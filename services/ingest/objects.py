"""All objects of the store as one tar, out and in again: for backups.

`python -m services.ingest.objects save > objects.tar`, `python -m services.ingest.objects load < objects.tar`. With the
settings of ingest. Objects never change, so what a dump of the records names is in a tar that was made after it.
"""

import sys
import tarfile
import tempfile
from collections.abc import Iterator
from typing import IO, BinaryIO, cast

from aimic import wiring
from aimic.errors import AimicError, InvalidInputError
from aimic.ports.blobs import PIECE, Blobs
from services.ingest.settings import Settings

_TELL_EVERY = 1000
_IN_MEMORY = 8 * PIECE


class _Reading:
    """An object's pieces as a file that is read forward."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = b""

    def read(self, size: int) -> bytes:
        """At most `size` bytes; fewer only at the end."""
        while len(self._left) < size and (piece := next(self._pieces, b"")):
            self._left += piece
        given, self._left = self._left[:size], self._left[size:]
        return given


def save(blobs: Blobs, out: IO[bytes], tell: IO[str]) -> int:
    """Write every object; gives how many. An object that is deleted meanwhile is left out."""
    count = 0
    with tarfile.open(fileobj=out, mode="w|", bufsize=PIECE) as archive:
        for info in blobs.list(""):
            member = tarfile.TarInfo(info.key)
            member.size = info.size
            archive.addfile(member, cast("IO[bytes]", _Reading(blobs.read(info.key))))
            count += 1
            _told(tell, count, "saved")
    return count


def load(blobs: Blobs, source: IO[bytes], tell: IO[str]) -> int:
    """Store every object that isn't there yet; gives how many were read. Cut off, it can be done again."""
    count = 0
    try:
        with tarfile.open(fileobj=source, mode="r|", bufsize=PIECE) as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is not None and not blobs.exists(member.name):
                    _put(blobs, member.name, content)
                count += 1
                _told(tell, count, "read")
    except tarfile.TarError as error:
        raise InvalidInputError(
            f"This is no whole tar ({error}). {count} objects were read and kept; nothing else was changed."
        ) from error
    return count


def _put(blobs: Blobs, key: str, content: IO[bytes]) -> None:
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as whole:
        while piece := content.read(PIECE):
            whole.write(piece)
        whole.seek(0)
        blobs.put(key, cast("BinaryIO", whole))


def _told(tell: IO[str], count: int, done: str) -> None:
    if count % _TELL_EVERY == 0:
        tell.write(f"{count} objects {done}\n")


def main(arguments: list[str]) -> int:
    """0 when all were saved or loaded; 2 for a wrong command."""
    if arguments not in (["save"], ["load"]):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    try:
        blobs = wiring.blobs(Settings())
        if arguments == ["save"]:
            count = save(blobs, sys.stdout.buffer, sys.stderr)
        else:
            count = load(blobs, sys.stdin.buffer, sys.stderr)
    except AimicError as error:
        sys.stderr.write(f"Error: {error.message}\n")
        return 1
    sys.stderr.write(f"{count} objects\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
