"""Many small files travel as one."""

import tempfile
import zipfile
from collections.abc import Iterable
from typing import BinaryIO, cast

_MEMORY = 64 * 2**20


def pack(files: Iterable[tuple[str, bytes]]) -> BinaryIO:
    """A zip of (path, bytes), stored, in a file that leaves memory beyond 64 MiB and is gone when closed.

    The same files give the same bytes, so that a second try of an upload finds the first.
    """
    stream = tempfile.SpooledTemporaryFile(max_size=_MEMORY)  # noqa: SIM115
    taken: set[str] = set()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for path, data in files:
            # ZipInfo's own date is fixed (1980).
            archive.writestr(zipfile.ZipInfo(_free(path.lstrip("/"), taken)), data)
    stream.seek(0)
    return cast(BinaryIO, stream)


def _free(path: str, taken: set[str]) -> str:
    """`path`, or with a number where two chosen files have one name."""
    stem, dot, ending = path.rpartition(".")
    number, free = 2, path
    while free in taken:
        free = f"{stem} ({number}){dot}{ending}" if dot else f"{path} ({number})"
        number += 1
    taken.add(free)
    return free
