"""Entries of a zip (APPNOTE 6.3, zip64 too): stored and deflated ones; names in UTF-8 or code page 437."""

import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

from aimic.domain.dataset import Refusal
from aimic.errors import InvalidInputError, UnreadableImageError
from aimic.imaging.bounded import Bounded
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
from aimic.imaging.names import safe_name

_ENCRYPTED = 0x1
_UTF8 = 0x800
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_LINK = 0o120000
_KIND = 0o170000
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, ValueError, RuntimeError)


def walk_zip(source: BinaryIO, limits: ArchiveLimits) -> Iterator[Walked]:
    """Entries in the order of the zip's directory."""
    packed = size_of(source)
    archive = _opened(source)
    members = archive.infolist()
    check_count(len(members), limits)
    check_total(sum(member.file_size for member in members), packed, limits)
    for member in members:
        if not member.is_dir():
            yield _entry(archive, member, limits)


def count_zip(source: BinaryIO) -> int:
    """Files in the zip's directory that are not ignored."""
    return sum(
        not isinstance(judged(_name(member), 0, ArchiveLimits()), Ignored)
        for member in _opened(source).infolist()
        if not member.is_dir()
    )


def _opened(source: BinaryIO) -> zipfile.ZipFile:
    """It is never closed, so that entries stay readable; the source belongs to the caller."""
    try:
        return zipfile.ZipFile(cast(BinaryIO, Bounded(source)))
    except _BROKEN as error:
        raise InvalidInputError(
            "The zip archive is damaged or cut off: its list of contents at the end can't be read. "
            "Please make or send it again."
        ) from error


def _name(member: zipfile.ZipInfo) -> str:
    """The path with `/`. Many tools write UTF-8 without saying so, and old Windows ones write backslashes."""
    name = member.filename
    if not member.flag_bits & _UTF8:
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            name = member.filename
    return name.replace("\\", "/")


def _entry(archive: zipfile.ZipFile, member: zipfile.ZipInfo, limits: ArchiveLimits) -> Walked:
    raw = _name(member)
    if decided := judged(raw, member.file_size, limits):
        return decided
    name = safe_name(raw)
    if (member.external_attr >> 16) & _KIND == _LINK:
        return Refusal(name=name, code="link", reason="This is a link, not a file; links are not followed.")
    if member.flag_bits & _ENCRYPTED:
        reason = "The file is encrypted with a password. Make the zip again without one."
        return Refusal(name=name, code="encrypted", reason=reason)
    if member.compress_type not in _METHODS:
        kind = f"method {member.compress_type} of the zip format"
        reason = f"The file is compressed in an unusual way ({kind}). Make the zip again with the usual settings."
        return Refusal(name=name, code="unsupported_compression", reason=reason)
    return Entry(name, member.file_size, lambda: _read(archive, member))


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """zipfile never reads more than the declared size and checks the CRC at its end."""
    try:
        with archive.open(member) as file:
            data = file.read(member.file_size + 1)
    except _BROKEN as error:
        raise UnreadableImageError("The file is damaged inside the zip archive.") from error
    if len(data) != member.file_size:
        raise UnreadableImageError("The file is cut off inside the zip archive.")
    return data
