"""What an archive holds, one entry at a time, and what its name and size alone decide."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

from aimic.domain.dataset import Refusal
from aimic.errors import TooLargeError
from aimic.imaging.limits import MIB
from aimic.imaging.names import is_ignored, safe_name, why_unsafe

_ARCHIVE_ENDINGS = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")


@dataclass(frozen=True)
class ArchiveLimits:
    """Bounds on an archive as a whole."""

    max_entries: int = 300_000
    max_entry_bytes: int = 256 * MIB
    max_total_bytes: int = 1024 * 1024 * MIB
    """Bytes of all entries, unpacked."""
    max_ratio: int = 200
    """Unpacked bytes per packed byte over the whole archive, beyond the first GiB."""

    def allowed_bytes(self, packed: int) -> int:
        """How many bytes an archive of `packed` bytes may unpack to."""
        return min(self.max_total_bytes, max(1024 * MIB, self.max_ratio * packed))


ARCHIVE_LIMITS = ArchiveLimits()


@dataclass(frozen=True)
class Entry:
    """One file to look at."""

    name: str
    """Path below the archive's root with `/`, in NFC and safe to show; the same at every walk."""
    size: int
    """Bytes, as the archive declares them."""
    _read: Callable[[], bytes] = field(repr=False, compare=False)

    def read(self) -> bytes:
        """All bytes; only until the next entry is asked for.

        UnreadableImageError when this entry alone is damaged; InvalidInputError when the archive breaks off here.
        """
        return self._read()


@dataclass(frozen=True)
class Ignored:
    """A hidden file or the like, worth counting and nothing more. Folders are not even counted."""

    name: str


Walked = Entry | Refusal | Ignored


def judged(raw: str, size: int, limits: ArchiveLimits) -> Refusal | Ignored | None:
    """What the name and the size of an entry alone decide; None when it is worth reading."""
    name = safe_name(raw)
    if reason := why_unsafe(raw):
        return Refusal(name=name[:200] or "?", code="unsafe_name", reason=reason)
    if is_ignored(name):
        return Ignored(name)
    if size > limits.max_entry_bytes:
        return too_large(name, size, limits)
    if name.lower().endswith(_ARCHIVE_ENDINGS):
        reason = "An archive inside the archive is not opened. Unpack it first, or import it by itself."
        return Refusal(name=name, code="nested_archive", reason=reason)
    return None


def too_large(name: str, size: int, limits: ArchiveLimits) -> Refusal:
    """The refusal of one file over `limits.max_entry_bytes`."""
    reason = f"The file has {size / MIB:,.0f} MiB; at most {limits.max_entry_bytes // MIB:,} MiB are taken."
    return Refusal(name=name, code="too_large", reason=reason)


def check_count(seen: int, limits: ArchiveLimits) -> None:
    """Refuse an archive with too many entries (TooLargeError)."""
    if seen > limits.max_entries:
        raise TooLargeError(
            f"The archive has more than {limits.max_entries:,} files. Send it in several smaller archives."
        )


def check_total(unpacked: int, packed: int, limits: ArchiveLimits) -> None:
    """Refuse an archive that unpacks to far more than it is (TooLargeError)."""
    if unpacked > limits.allowed_bytes(packed):
        raise TooLargeError(
            f"The archive has {packed / MIB:,.1f} MiB but unpacks to more than "
            f"{limits.allowed_bytes(packed) / MIB:,.0f} MiB, which no set of pictures does. It was not read further."
        )


def size_of(source: BinaryIO) -> int:
    """Bytes in all of a seekable file; its position moves."""
    return source.seek(0, os.SEEK_END)
