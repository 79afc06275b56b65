"""Objects by the addresses that ingest gives: `file://` on one machine, `http(s)://` (presigned) elsewhere."""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx

from aimic.errors import CorruptError, NotFoundError, UnavailableError

TIMEOUT = httpx.Timeout(30.0, connect=3.0)
TRIES = 4
CHUNK = 1 << 20


def _path(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))


def _is_file(url: str) -> bool:
    return url.startswith("file://")


def _pauses() -> Iterator[None]:
    """Turns for a request, with growing pauses between them."""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(0.5 * 2**attempt)
        yield


def _checked(response: httpx.Response, what: str) -> httpx.Response:
    if response.status_code == 404:
        raise NotFoundError(f"The object store no longer has {what}.")
    if response.status_code >= 500:
        raise UnavailableError(f"The object store answered {response.status_code}; we try again.")
    if response.is_error:
        raise UnavailableError(f"The object store refused {what} ({response.status_code}).")
    return response


def read(url: str, what: str, sha256: str | None = None) -> bytes:
    """All bytes at `url`. CorruptError when they aren't those that `sha256` names."""
    data = _read_file(url, what) if _is_file(url) else _read_http(url, what)
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise CorruptError(
            f"The stored bytes of {what} are damaged: they don't match their SHA-256 any more. "
            "Restore the object store from its backup, or remove and import this image again."
        )
    return data


def _read_file(url: str, what: str) -> bytes:
    try:
        return _path(url).read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(f"The object store no longer has {what}.") from error


def _read_http(url: str, what: str) -> bytes:
    last: Exception | None = None
    for _ in _pauses():
        try:
            return _checked(httpx.get(url, timeout=TIMEOUT), what).content
        except (httpx.TransportError, UnavailableError) as error:
            last = error
    raise UnavailableError(f"The object store can't be reached for {what}.") from last


def fetch(url: str, target: Path, what: str) -> Path:
    """Copy the object at `url` to `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if _is_file(url):
        try:
            shutil.copyfile(_path(url), target)
        except FileNotFoundError as error:
            raise NotFoundError(f"The object store no longer has {what}.") from error
        return target
    last: Exception | None = None
    for _ in _pauses():
        try:
            with httpx.stream("GET", url, timeout=TIMEOUT) as response, target.open("wb") as out:
                for piece in _checked(response, what).iter_bytes(CHUNK):
                    out.write(piece)
            return target
        except (httpx.TransportError, UnavailableError) as error:
            last = error
    raise UnavailableError(f"The object store can't be reached for {what}.") from last


def send(source: Path, url: str) -> None:
    """Write the file to `url`, whole or not at all."""
    if _is_file(url):
        _send_file(source, _path(url))
        return
    last: Exception | None = None
    for _ in _pauses():
        try:
            with source.open("rb") as data:
                length = {"content-length": str(source.stat().st_size)}
                _checked(httpx.put(url, content=data, headers=length, timeout=TIMEOUT), source.name)
            return
        except (httpx.TransportError, UnavailableError) as error:
            last = error
    raise UnavailableError(f"The object store can't be reached to write {source.name}.") from last


def _send_file(source: Path, target: Path) -> None:
    changed = _make(target.parent)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix="~incoming-")
    try:
        with os.fdopen(handle, "wb") as out, source.open("rb") as data:
            shutil.copyfileobj(data, out, CHUNK)
            out.flush()
            os.fsync(out.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    for directory in changed:
        _flush_directory(directory)


def _make(directory: Path) -> list[Path]:
    """Make a directory; it and every one that has a new entry, which a power cut takes back until it is flushed."""
    changed = [directory]
    while not changed[-1].exists():
        changed.append(changed[-1].parent)
    directory.mkdir(parents=True, exist_ok=True)
    return changed


def _flush_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
