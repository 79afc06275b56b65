"""One file for a bundle: an uncompressed tar whose bytes depend on the bundle alone."""

import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import IO, BinaryIO, cast

from aimic.errors import ConflictError, CorruptError, InvalidInputError, TooLargeError
from aimic.imaging.bounded import Bounded
from aimic.nets.bundle_directory import CARD, CHECK, INFO, LARGEST_INFO, inspect, members_of
from aimic.nets.info import BundleInfo

LARGEST_MEMBER = 4 * 2**30
LARGEST_BUNDLE = 16 * 2**30
MOST_MEMBERS = 53
"""Fifty weight sets and the three others."""
_PIECE = 2**20
"""Bytes that are read at once, of a member as of a header."""


class _Pieces(Bounded):
    """Lets tarfile read no more than we ask of it: extended headers, of which our files have none, name their
    own size, and it would read and take apart all of that.
    """

    def read(self, size: int = -1) -> bytes:
        """At most _PIECE bytes, or ValueError."""
        if not 0 <= size <= _PIECE:
            raise ValueError("a header of the archive is too large")
        return super().read(size)


def export(directory: Path, file: Path | IO[bytes]) -> None:
    """Write a verified bundle as one tar: members sorted, no clock, no owner. Equal bundles, equal bytes."""
    info = inspect(directory).info
    if isinstance(file, Path):
        with file.open("wb") as stream:
            _pack(directory, info, stream)
    else:
        _pack(directory, info, file)


def _pack(directory: Path, info: BundleInfo, stream: IO[bytes]) -> None:
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in members_of(info):
            entry = tarfile.TarInfo(name)
            entry.size = (directory / name).stat().st_size
            with (directory / name).open("rb") as source:
                archive.addfile(entry, source)


def unpack(file: Path | IO[bytes], directory: Path, expected_hash: str | None = None) -> BundleInfo:
    """Read an exported bundle into `directory`, which appears only once every byte was checked.

    ConflictError when the directory is there already; InvalidInputError for what is no bundle file;
    CorruptError when it is damaged, TooLargeError beyond the limits. Nothing is left behind then.
    """
    if directory.exists():
        raise ConflictError(f"{directory} is there already; a bundle is never written over.")
    directory.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".unpack-", dir=directory.parent))
    try:
        inside = scratch / (directory.name or "bundle")
        inside.mkdir()
        if isinstance(file, Path):
            with file.open("rb") as stream:
                _extract(stream, inside)
        else:
            _extract(file, inside)
        info = inspect(inside, expected_hash).info
        inside.rename(directory)
        return info
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _extract(stream: IO[bytes], target: Path) -> None:
    """Only members with names of ours are written, each once, so no path can lead anywhere else."""
    (target / "weights").mkdir()
    total = 0
    try:
        # tarfile asks no more of a file object than Bounded has.
        pieces = cast(IO[bytes], _Pieces(cast(BinaryIO, stream)))
        with tarfile.open(fileobj=pieces, mode="r:") as archive:
            for number, entry in enumerate(archive):
                total += entry.size
                _check_entry(entry, number, total)
                _write_member(archive, entry, target / entry.name)
    except (tarfile.TarError, ValueError) as error:
        raise InvalidInputError("This is not an exported model, or it is cut short. Export it again.") from error


def _check_entry(entry: tarfile.TarInfo, number: int, total: int) -> None:
    # Plain files only: no links, devices, or sparse files, which can grow without bytes of their own.
    if entry.type not in {tarfile.REGTYPE, tarfile.AREGTYPE} or not _is_ours(entry.name):
        raise InvalidInputError(f"This is not an exported model: it holds {entry.name[:100]!r}. Nothing was kept.")
    largest = LARGEST_INFO if entry.name in {INFO, CARD} else LARGEST_MEMBER
    if number >= MOST_MEMBERS or total > LARGEST_BUNDLE or entry.size > largest:
        raise TooLargeError("This exported model is larger than any we read. Nothing was kept.")


def _is_ours(name: str) -> bool:
    if name in {INFO, CARD, CHECK}:
        return True
    number = name.removeprefix("weights/").removesuffix(".safetensors")
    if name != f"weights/{number}.safetensors" or len(number) > 2 or not number.isdecimal():
        return False
    return number == str(int(number))


def _write_member(archive: tarfile.TarFile, entry: tarfile.TarInfo, path: Path) -> None:
    source = archive.extractfile(entry)
    if source is None or path.exists():
        raise CorruptError(f"The exported model holds {entry.name} twice. Nothing was kept.")
    with source, path.open("xb") as target:
        shutil.copyfileobj(source, target, _PIECE)
