"""Entries of a tar (POSIX pax, GNU, ustar, v7), plain or packed by gzip."""

import tarfile
from collections.abc import Iterator
from typing import BinaryIO, cast

from aimic.domain.dataset import Refusal
from aimic.errors import InvalidInputError
from aimic.imaging.bounded import Bounded, Gunzip
from aimic.imaging.entries import (
    ArchiveLimits,
    Entry,
    Ignored,
    Walked,
    check_count,
    check_total,
    judged,
    size_of,
)
from aimic.imaging.limits import MIB
from aimic.imaging.names import safe_name

_BROKEN = "The tar archive is damaged or cut off. What came before that point is good; please send it again."
_NO_TAR = "This gzip file has no tar archive in it. Please send a zip, tar or tar.gz of the folder."
_ERRORS = (tarfile.TarError, EOFError, ValueError, OSError)


_EndMarker: type[Exception] = tarfile.EOFHeaderError  # type: ignore[attr-defined]  # not in typeshed


class _StrictInfo(tarfile.TarInfo):
    """tarfile takes a broken or missing header for the end of the archive; only the end marker is one."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> "_StrictInfo":
        try:
            return super().fromtarfile(tarfile_)
        except _EndMarker:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error


def is_tar(head: bytes) -> bool:
    """Whether 512 bytes are a tar header with a right checksum, or the end marker of an empty tar."""
    if len(head) < tarfile.BLOCKSIZE:
        return False
    if not any(head):
        return True
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def walk_tar(source: BinaryIO, limits: ArchiveLimits) -> Iterator[Walked]:
    """Entries in the order in which they were packed."""
    yield from _walk(cast(BinaryIO, Bounded(source)), limits)


def walk_tar_gz(source: BinaryIO, limits: ArchiveLimits) -> Iterator[Walked]:
    """As `walk_tar`, unpacking forwards."""
    packed = size_of(source)

    def meter(unpacked: int) -> None:
        check_total(unpacked, packed, limits)

    if not is_tar(Gunzip(source, meter).read(tarfile.BLOCKSIZE)):
        raise InvalidInputError(_NO_TAR)
    yield from _walk(cast(BinaryIO, Gunzip(source, meter)), limits)


def count_tar(source: BinaryIO) -> int | None:
    """Files in the tar that are not ignored, by its headers alone; None when they can't be read to the end."""
    try:
        return sum(not isinstance(found, Ignored) for found in walk_tar(source, ArchiveLimits()))
    except InvalidInputError:
        return None


def _walk(stream: BinaryIO, limits: ArchiveLimits) -> Iterator[Walked]:
    seen = 0
    archive = _opened(stream)
    while member := _next(archive):
        # tarfile remembers every member; 10^5 of them would not stay small.
        archive.members = []  # type: ignore[attr-defined]  # not in typeshed
        seen += 1
        check_count(seen, limits)
        if not member.isdir():
            yield _entry(archive, member, limits)


def _opened(stream: BinaryIO) -> tarfile.TarFile:
    try:
        return tarfile.TarFile(
            fileobj=stream, mode="r", encoding="utf-8", errors="surrogateescape", tarinfo=_StrictInfo
        )
    except _ERRORS as error:
        raise InvalidInputError(_BROKEN) from error


def _next(archive: tarfile.TarFile) -> tarfile.TarInfo | None:
    try:
        return archive.next()
    except _ERRORS as error:
        raise InvalidInputError(_BROKEN) from error


def _entry(archive: tarfile.TarFile, member: tarfile.TarInfo, limits: ArchiveLimits) -> Walked:
    if decided := judged(member.name, member.size, limits):
        return decided
    name = safe_name(member.name)
    if member.issym() or member.islnk():
        return Refusal(name=name, code="link", reason="This is a link, not a file; links are not followed.")
    if not member.isreg() or member.issparse():
        return Refusal(name=name, code="not_a_file", reason="This is not an ordinary file.")
    return Entry(name, member.size, lambda: _read(archive, member))


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.fileobj
    assert stream is not None
    try:
        stream.seek(member.offset_data)
        parts, left = [], member.size
        while left and (piece := stream.read(min(left, MIB))):
            parts.append(piece)
            left -= len(piece)
    except _ERRORS as error:
        raise InvalidInputError(_BROKEN) from error
    if left:
        raise InvalidInputError(_BROKEN)
    return b"".join(parts)
