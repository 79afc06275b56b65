"""Bytes on their way into the store: in one request if they are few, else in parts, of which one is in memory."""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from minio.helpers import DictType

from aimic.adapters.s3_checksums import SHA256_HEADER
from aimic.adapters.s3_connection import Connection
from aimic.adapters.s3_parts import PART, Source, fill, put_parts
from aimic.disks import temporary_file
from aimic.ports.blobs import PIECE


def put(store: Connection, key: str, data: bytes | BinaryIO) -> int:
    """Store all of `data`, whole or not at all; its size."""
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    start = file.tell() if file.seekable() else None
    head = fill(file, PART)
    if len(head) < PART:
        _put_at_once(store, key, head)
        return len(head)
    with _looked_at(file, head, start) as source:
        put_parts(store, key, source)
        return source.size


def _put_at_once(store: Connection, key: str, data: bytes) -> None:
    # The client names the body's hash (SHA-256 in the signature; over TLS, Content-MD5), which the store verifies.
    metadata = cast("DictType", {SHA256_HEADER: hashlib.sha256(data).hexdigest()})
    bucket = store.address.bucket
    store.call_in_bucket(
        lambda: store.client.put_object(bucket, key, io.BytesIO(data), len(data), metadata=metadata), key
    )


@contextmanager
def _looked_at(file: BinaryIO, head: bytes, start: int | None) -> Iterator[Source]:
    """The source and its hash, which S3 wants before the first part: so it is read twice.

    One that can't be (`start` is None) is kept on this machine's temporary disk meanwhile.
    """
    if start is not None:
        sha256, size = _digest(head, file, None)
        file.seek(start)
        yield Source(file, size, sha256)
        return
    with temporary_file() as copy:
        sha256, size = _digest(head, file, copy)
        copy.seek(0)
        yield Source(copy, size, sha256)


def _digest(head: bytes, file: BinaryIO, copy: BinaryIO | None) -> tuple[str, int]:
    digest, size, piece = hashlib.sha256(), 0, head
    while piece:
        digest.update(piece)
        size += len(piece)
        if copy is not None:
            copy.write(piece)
        piece = file.read(PIECE)
    return digest.hexdigest(), size
