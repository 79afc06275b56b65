"""Objects by the addresses that ingest gives: `file://` on one machine, `http(s)://` (presigned) elsewhere."""

import os
import shutil
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from aimic.adapters.s3_checksums import Check
from aimic.errors import NotFoundError
from services.trainer import presigned

CHUNK = 1 << 20


def _path(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))


def _is_file(url: str) -> bool:
    return url.startswith("file://")


def read(url: str, what: str, sha256: str | None = None) -> bytes:
    """All bytes at `url`. CorruptError when they aren't those that `sha256` names, or the store's own checksum."""
    if not _is_file(url):
        return presigned.read(url, what, sha256)
    try:
        data = _path(url).read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(f"The object store no longer has {what}.") from error
    check = Check({}, sha256)
    check.update(data)
    check.finish(what)
    return data


def fetch(url: str, target: Path, what: str) -> Path:
    """Copy the object at `url` to `target`, which appears once all of it is there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not _is_file(url):
        presigned.fetch(url, target, what)
        return target
    aside = target.with_name(f"{target.name}.{uuid4().hex}.part")
    try:
        shutil.copyfile(_path(url), aside)
        aside.replace(target)
    except FileNotFoundError as error:
        raise NotFoundError(f"The object store no longer has {what}.") from error
    finally:
        aside.unlink(missing_ok=True)
    return target


def send(source: Path, url: str) -> None:
    """Write the file to `url`, whole or not at all."""
    if _is_file(url):
        _send_file(source, _path(url))
    else:
        presigned.send(source, url)


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
