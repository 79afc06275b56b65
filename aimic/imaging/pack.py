"""A folder as one tar stream, made while it is sent: no temporary file, the same bytes every time.

Standard library only: this runs on the person's machine. The length is known before the first byte and any
part can be read, so an interrupted upload goes on where it was.
"""

import hashlib
import io
import os
import stat
import tarfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from aimic.errors import ConflictError, InvalidInputError, NotFoundError
from aimic.imaging.names import is_ignored

_BLOCK = tarfile.BLOCKSIZE
_END = 2 * _BLOCK


class _File(NamedTuple):
    name: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class _Member:
    """One file, in little memory: there may be a hundred thousand."""

    name: str
    size: int
    mtime_ns: int
    offset: int
    """Where the member's header starts in the stream."""

    @property
    def header(self) -> bytes:
        """Header blocks that depend on name and size alone: no owner, no time, no rights."""
        info = tarfile.TarInfo(self.name)
        info.size = self.size
        return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


class PackedFolder:
    """The tar of a folder. `size` bytes in all; `fingerprint` is the same while no file's name, size or
    time changes; `left_out` names links that lead out of the folder and things that are no files."""

    def __init__(self, root: Path, files: Iterable[_File], left_out: tuple[str, ...]) -> None:
        self._root = root
        self.filename = f"{root.resolve().name or 'folder'}.tar"
        self.left_out = left_out
        self._members: list[_Member] = []
        offset = 0
        for name, size, mtime_ns in files:
            member = _Member(name, size, mtime_ns, offset)
            self._members.append(member)
            offset += len(member.header) + _padded(member.size)
        self._end = offset
        self.size = offset + _END
        self._offsets = [member.offset for member in self._members]

    @property
    def files(self) -> int:
        """How many files are in it."""
        return len(self._members)

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of all names, sizes and modification times."""
        digest = hashlib.sha256()
        for member in self._members:
            line = f"{member.name}\0{member.size}\0{member.mtime_ns}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on; fewer only at the end. ConflictError when a file has changed since."""
        parts = []
        end = min(offset + size, self.size)
        index = max(0, bisect_right(self._offsets, offset) - 1)
        while offset < end:
            if offset >= self._end or index >= len(self._members):
                parts.append(bytes(end - offset))
                break
            piece = self._read_member(self._members[index], offset, end)
            parts.append(piece)
            offset += len(piece)
            index += 1
        return b"".join(parts)

    def _read_member(self, member: _Member, start: int, end: int) -> bytes:
        """The part of the stream from `start` to `end` that lies within this member."""
        header = member.header
        stop = min(end, member.offset + len(header) + _padded(member.size))
        begin, finish = start - member.offset, stop - member.offset
        parts = [header[begin:finish]]
        data_begin, data_finish = max(0, begin - len(header)), min(member.size, finish - len(header))
        if data_finish > data_begin:
            parts.append(_read_file(self._root, member, data_begin, data_finish - data_begin))
        length = sum(len(part) for part in parts)
        return b"".join([*parts, bytes(finish - begin - length)])

    def open(self) -> io.BufferedReader:
        """The stream as a seekable file object."""
        return io.BufferedReader(_Stream(self))


class _Stream(io.RawIOBase):
    """A read-only file object over a PackedFolder."""

    def __init__(self, folder: PackedFolder) -> None:
        self._folder = folder
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._folder.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._folder.read(self._position, len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def pack_folder(path: Path | str) -> PackedFolder:
    """Pack every file below `path` except hidden ones and the like, in a fixed order, whatever their extension.

    The server looks at the content and says which files are no images. Links are followed to files inside
    the folder only. NotFoundError or InvalidInputError when there is no such folder or nothing in it.
    """
    root = Path(path)
    if not root.exists():
        raise NotFoundError(f"There is no folder {root}; nothing was sent.")
    if not root.is_dir():
        raise InvalidInputError(f"{root} is a file, not a folder; nothing was sent.")
    files: list[_File] = []
    left_out: list[str] = []
    inside = root.resolve()
    for name, file in _below(root):
        status = _packable(file, inside)
        if status is None:
            left_out.append(name)
        else:
            files.append(_File(name, status.st_size, status.st_mtime_ns))
    if not files:
        raise InvalidInputError(f"There are no files to send in {root} (hidden files are left out).")
    return PackedFolder(root, sorted(files), tuple(sorted(left_out)))


def _below(root: Path) -> Iterator[tuple[str, Path]]:
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        folders[:] = [name for name in folders if not is_ignored(name)]
        linked = [name for name in folders if (here / name).is_symlink()]
        for name in (*files, *linked):
            if not is_ignored(name):
                yield (here / name).relative_to(root).as_posix(), here / name


def _packable(file: Path, inside: Path) -> os.stat_result | None:
    """The status of an ordinary file inside the folder; None for anything else."""
    try:
        status = file.stat()
        followed = not file.is_symlink() or file.resolve().is_relative_to(inside)
    except (OSError, RuntimeError):
        # RuntimeError: a loop of links (before Python 3.13).
        return None
    return status if followed and stat.S_ISREG(status.st_mode) else None


def _read_file(root: Path, member: _Member, offset: int, size: int) -> bytes:
    try:
        with (root / member.name).open("rb") as file:
            status = os.fstat(file.fileno())
            file.seek(offset)
            data = file.read(size)
    except OSError as error:
        raise NotFoundError(
            f"{member.name} can't be read any more ({error.strerror}). Start the import again; what was sent is kept."
        ) from error
    if status.st_size != member.size or status.st_mtime_ns != member.mtime_ns or len(data) != size:
        raise ConflictError(f"{member.name} changed while the folder was sent. Start the import again.")
    return data


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
