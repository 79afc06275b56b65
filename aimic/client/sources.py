"""What can be uploaded: bytes of known length that can be read from anywhere in them."""

import hashlib
import threading
from pathlib import Path
from typing import BinaryIO, Protocol

from aimic.errors import InvalidInputError, NotFoundError


class Source(Protocol):
    """Bytes to send. The fingerprint is the same for the same bytes, so that a second try finds the first."""

    @property
    def filename(self) -> str:
        """Name for the receiver; its ending says what the bytes are."""

    @property
    def size(self) -> int:
        """Bytes in all."""

    @property
    def fingerprint(self) -> str:
        """Hex digest."""

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on; fewer only at the end."""


class BytesSource:
    """Bytes in memory; the fingerprint is their SHA-256."""

    def __init__(self, data: bytes, filename: str = "upload.bin") -> None:
        self._data = data
        self.filename = filename
        self.size = len(data)
        self.fingerprint = hashlib.sha256(data).hexdigest()

    def read(self, offset: int, size: int) -> bytes:
        """See Source."""
        return self._data[offset : offset + size]


class StreamSource:
    """A seekable binary file object, such as what a browser sent; read once for its fingerprint."""

    def __init__(self, stream: BinaryIO, filename: str) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self.filename = filename
        stream.seek(0)
        digest = hashlib.sha256()
        while piece := stream.read(2**20):
            digest.update(piece)
        self.fingerprint = digest.hexdigest()
        self.size = stream.tell()

    def read(self, offset: int, size: int) -> bytes:
        """See Source."""
        with self._lock:
            self._stream.seek(offset)
            return self._stream.read(size)


class FileSource:
    """A file on this machine. The fingerprint is of its place, size and time: reading it twice would cost hours."""

    def __init__(self, path: Path) -> None:
        self._path = path
        status = path.stat()
        self.filename = path.name
        self.size = status.st_size
        identity = f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
        self.fingerprint = hashlib.sha256(identity.encode(errors="surrogateescape")).hexdigest()

    def read(self, offset: int, size: int) -> bytes:
        """See Source."""
        with self._path.open("rb") as file:
            file.seek(offset)
            return file.read(size)


Sendable = Source | Path | str | bytes
"""What a person may hand over: a source, a folder or file, or bytes."""


def source_of(what: Sendable) -> Source:
    """The source for a path (a folder is packed while it is sent), bytes, or a source itself.

    NotFoundError when there is no such file, InvalidInputError when it is empty.
    """
    if isinstance(what, bytes):
        source: Source = BytesSource(what)
    elif isinstance(what, str | Path):
        source = _of_path(Path(what))
    else:
        source = what
    if source.size == 0:
        raise InvalidInputError(f"{source.filename} is empty; nothing was sent.")
    return source


def _of_path(path: Path) -> Source:
    if path.is_dir():
        from aimic.imaging.pack import pack_folder

        return pack_folder(path)
    if not path.exists():
        raise NotFoundError(f"There is no file or folder {path}; nothing was sent.")
    return FileSource(path)
