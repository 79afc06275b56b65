"""Large objects in parts: the object appears when the last request names them all, and never in halves."""

import hashlib
import logging
from typing import BinaryIO, NamedTuple, cast

from minio.datatypes import Part
from minio.error import S3Error, ServerError
from minio.helpers import DictType

from aimic.adapters.s3_checksums import SHA256_HEADER
from aimic.adapters.s3_connection import Connection
from aimic.adapters.s3_errors import NO_UPLOAD, code_of
from aimic.errors import AimicError, ConflictError
from aimic.ports.blobs import PIECE

PART = 8 << 20
"""Bytes of a part: S3 asks for 5 MiB or more, and memory holds one."""
MOST_PARTS = 10_000
logger = logging.getLogger(__name__)


class Source(NamedTuple):
    """A file from where it stands to its end, all of which was looked at before."""

    file: BinaryIO
    size: int
    sha256: str


def fill(file: BinaryIO, size: int) -> bytes:
    """`size` bytes of a file, fewer only at its end."""
    data = bytearray()
    while len(data) < size and (piece := file.read(min(PIECE, size - len(data)))):
        data += piece
    return bytes(data)


def put_parts(store: Connection, key: str, source: Source) -> None:
    """Store the source. What was sent of one that fails is removed again."""
    upload = _Upload(store, key, source.sha256)
    try:
        upload.send(source)
    except BaseException:
        upload.abort()
        raise


class _Upload:
    """One upload in parts. The client's own can't repeat a single part, so we use the steps it is made of."""

    def __init__(self, store: Connection, key: str, sha256: str) -> None:
        self._store = store
        self._bucket = store.address.bucket
        self._key = key
        self._sha256 = sha256
        self._id = store.call_in_bucket(self._create, key)
        self._parts: list[Part] = []

    def send(self, source: Source) -> None:
        """All parts, then the object."""
        part = max(PART, -(-source.size // MOST_PARTS))
        digest = hashlib.sha256()
        while data := fill(source.file, part):
            digest.update(data)
            self._send_part(data)
        if digest.hexdigest() != self._sha256:
            raise ConflictError(
                f"What is to be stored as {self._key} changed meanwhile. Nothing was stored; try again."
            )
        self._store.call(self._complete, self._key)

    def abort(self) -> None:
        """Remove what was sent; if that fails too, the lifecycle rule of the bucket does."""
        try:
            self._store.call(
                lambda: self._store.client._abort_multipart_upload(self._bucket, self._key, self._id), self._key, 0
            )
        except AimicError as error:
            logger.warning("parts stay in the store", extra={"key": self._key, "reason": error.message})

    def _create(self) -> str:
        headers = cast("DictType", {SHA256_HEADER: self._sha256})
        return self._store.client._create_multipart_upload(self._bucket, self._key, headers)

    def _send_part(self, data: bytes) -> None:
        number = len(self._parts) + 1
        etag = self._store.call(
            lambda: self._store.client._upload_part(self._bucket, self._key, data, None, self._id, number), self._key
        )
        self._parts.append(Part(number, etag))

    def _complete(self) -> None:
        try:
            done = self._store.client._complete_multipart_upload(self._bucket, self._key, self._id, self._parts)
        except S3Error as error:
            # Asked again after its answer was lost, the store no longer knows an upload that it completed.
            if code_of(error) == NO_UPLOAD and self._is_there():
                return
            raise
        if not done.etag:
            # S3 begins this answer before it knows the outcome: it may be 200 and an error.
            raise ServerError("the store couldn't put the parts together", 500)

    def _is_there(self) -> bool:
        found = self._store.client.stat_object(self._bucket, self._key)
        return found.metadata is not None and found.metadata.get(SHA256_HEADER) == self._sha256
