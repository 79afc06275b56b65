"""Objects as files of one directory tree: the embedded mode's store."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from aimic.disks import FULL
from aimic.errors import ConflictError, FullError, NotFoundError, UnavailableError
from aimic.ports.blobs import PIECE, BlobInfo, check_range, key_parts

MIN_FREE = 64 << 20
"""Bytes that must be free for the store to count as usable: room for the records to say that it is full."""
_TMP = "~tmp"
"""No key can name it, since `~` is in no key."""
_TMP_MAX_AGE_S = 24 * 3600
_ASIDE = "~"
"""So begin the files that writers to `url_to_put` have not renamed yet."""
_ASIDE_MAX_AGE_S = 600
"""Seconds after the last write to such a file after which its writer must be dead."""


class LocalBlobs:
    """Keeps the promises of `aimic.ports.blobs.Blobs` below one directory, which is made when needed."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._swept = False

    def put(self, key: str, data: bytes | BinaryIO) -> BlobInfo:
        """Write aside, flush to disk, rename, flush the directory: whole or not at all, even if power fails."""
        path = self._path(key)
        try:
            temporary = self._tmp() / uuid4().hex
            try:
                size = _write(temporary, data)
                self._move(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise _explained(error, key) from error
        return BlobInfo(key=key, size=size)

    def get(self, key: str) -> bytes:
        """All bytes; NotFoundError when the key isn't there."""
        path = self._path(key)
        try:
            return path.read_bytes()
        except OSError as error:
            raise _explained(error, key) from error

    def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Stream a range; a missing key is refused at once, not at the first piece."""
        check_range(offset, length)
        size = self.stat(key).size
        end = size if length is None else min(size, offset + length)
        return self._pieces(key, offset, end)

    def stat(self, key: str) -> BlobInfo:
        """Size; NotFoundError when the key isn't there."""
        path = self._path(key)
        if not path.is_file():
            raise NotFoundError(f"There is no object {key}.")
        return BlobInfo(key=key, size=path.stat().st_size)

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        return self._path(key).is_file()

    def delete(self, key: str) -> None:
        """Remove the object, and the directories that it leaves empty."""
        path = self._path(key)
        try:
            path.unlink()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return
        except OSError as error:
            raise _explained(error, key) from error
        for parent in path.parents:
            if parent == self._root:
                return
            try:
                parent.rmdir()
            except OSError:  # not empty, or already gone
                return

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """Objects whose key starts with `prefix`, in order of key within each directory."""
        if prefix.strip("/"):
            self._path(prefix.rstrip("/"))
        start = self._root / prefix.rpartition("/")[0]
        for directory, names, files in os.walk(start):
            names.sort()
            for name in sorted(files):
                path = Path(directory, name)
                if name.startswith(_ASIDE):
                    _remove_old(path, _ASIDE_MAX_AGE_S)
                    continue
                key = path.relative_to(self._root).as_posix()
                if key.startswith(prefix) and not key.startswith(_TMP):
                    try:
                        yield BlobInfo(key=key, size=path.stat().st_size)
                    except FileNotFoundError:  # deleted while we walk
                        continue

    def url_to_get(self, key: str, ttl_s: int) -> str:
        """A `file://` address; it needs no term, since whoever can read the directory may."""
        del ttl_s
        return self._path(key).as_uri()

    def url_to_put(self, key: str, ttl_s: int) -> str:
        """A `file://` address whose directory exists; the writer writes aside and renames, as `put` does."""
        del ttl_s
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _explained(error, key) from error
        return path.as_uri()

    def ping(self) -> None:
        """Write and remove a small file, and look at the free space."""
        try:
            probe = self._tmp() / uuid4().hex
            try:
                _write(probe, b"ping")
            finally:
                probe.unlink(missing_ok=True)
            free = shutil.disk_usage(self._root).free
        except OSError as error:
            raise _explained(error, "") from error
        if free < MIN_FREE:
            raise _full()

    def _path(self, key: str) -> Path:
        return self._root.joinpath(*key_parts(key))

    def _tmp(self) -> Path:
        directory = self._root / _TMP
        directory.mkdir(parents=True, exist_ok=True)
        if not self._swept:
            self._swept = True
            _sweep(directory)
        return directory

    def _move(self, temporary: Path, path: Path) -> None:
        # A delete beside us may take the directory away between mkdir and rename: then we make it again.
        for attempt in range(10):
            try:
                made = _make(path.parent)
                temporary.replace(path)
            except (FileNotFoundError, FileExistsError):
                if attempt == 9 or not temporary.exists():
                    raise
                continue
            for directory in made:
                _flush_directory(directory)
            return

    def _pieces(self, key: str, offset: int, end: int) -> Iterator[bytes]:
        try:
            with self._path(key).open("rb") as file:
                file.seek(offset)
                while offset < end and (piece := file.read(min(PIECE, end - offset))):
                    offset += len(piece)
                    yield piece
        except OSError as error:
            raise _explained(error, key) from error


def _write(path: Path, data: bytes | BinaryIO) -> int:
    size = 0
    with path.open("xb") as file:
        if isinstance(data, bytes):
            size = file.write(data)
        else:
            while piece := data.read(PIECE):
                size += file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return size


def _make(directory: Path) -> list[Path]:
    """Make a directory; returns it and every parent that has a new entry, deepest first, to be flushed."""
    changed = [directory]
    while not directory.exists():
        directory = directory.parent
        changed.append(directory)
    changed[0].mkdir(parents=True, exist_ok=True)
    return changed


def _flush_directory(directory: Path) -> None:
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:  # emptied and removed by a delete beside us
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(directory: Path) -> None:
    """Remove what a killed process left aside, once it is too old to be in use."""
    for path in directory.iterdir():
        _remove_old(path, _TMP_MAX_AGE_S)


def _remove_old(path: Path, age_s: float) -> None:
    try:
        if path.stat().st_mtime < time.time() - age_s:
            path.unlink()
    except FileNotFoundError:
        return


def _full() -> FullError:
    return FullError(
        "The disk that holds the objects is full. What was stored before is safe and nothing half-written "
        "was kept; free some space and try again."
    )


def _explained(error: OSError, key: str) -> Exception:
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"There is no object {key}.")
    if isinstance(error, NotADirectoryError | IsADirectoryError | FileExistsError):
        return ConflictError(f"{key} is both an object and the beginning of another object's name.")
    if error.errno in FULL:
        return _full()
    return UnavailableError(
        f"The object store can't be used ({error.strerror}). What was stored before is safe; "
        "look at the directory's disk and permissions, then try again.",
        retry_after_s=30,
    )
