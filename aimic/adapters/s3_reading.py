"""An object's bytes as a stream that outlives broken connections and is checked against what the store promised."""

from collections.abc import Generator
from typing import cast

from minio.error import S3Error
from minio.helpers import DictType
from urllib3.exceptions import HTTPError, ProtocolError
from urllib3.response import BaseHTTPResponse

from aimic.adapters.s3_checksums import Check
from aimic.adapters.s3_connection import Connection
from aimic.adapters.s3_errors import code_of
from aimic.ports.blobs import PIECE


def pieces(store: Connection, key: str, offset: int, length: int | None) -> Generator[bytes, None, None]:
    """The range in pieces. The first, empty, comes once the store has answered that the object is there."""
    reading = _Reading(store, key, offset, length)
    try:
        store.call(reading.begin, key)
        yield b""
        while piece := reading.next():
            yield piece
    finally:
        reading.close()


class _Reading:
    """One request, and further ones from where the last one broke off."""

    def __init__(self, store: Connection, key: str, offset: int, length: int | None) -> None:
        self._store = store
        self._key = key
        self._at = offset
        self._left = length
        self._etag = ""
        self._check: Check | None = None
        self._response: BaseHTTPResponse | None = None

    def begin(self) -> None:
        """Ask for the range; afterwards it is known how much of it there is."""
        if self._left == 0:
            self._store.client.stat_object(self._store.address.bucket, self._key)
            return
        try:
            response = self._open()
        except S3Error as error:
            if code_of(error) != "InvalidRange":
                raise
            self._left = 0  # it starts at the object's end or behind
            return
        size = int(response.headers.get("content-length", "0"))
        self._left = size if self._left is None else min(self._left, size)
        self._etag = response.headers.get("etag", "")
        if self._at == 0 and self._left == _size_of_object(response):
            self._check = Check(response.headers)

    def next(self) -> bytes:
        """The next piece; empty at the end. CorruptError before the last piece of an object that is damaged."""
        if not self._left:
            return b""
        piece = self._store.call(self._receive, self._key)
        self._at += len(piece)
        self._left -= len(piece)
        if self._check is not None:
            self._check.update(piece)
            if not self._left:
                self._check.finish(self._key)
        return piece

    def close(self) -> None:
        """Give the connection back; one in the middle of an answer is closed."""
        if self._response is not None:
            self._response.close()
            self._response.release_conn()
            self._response = None

    def _receive(self) -> bytes:
        response = self._response or self._open()
        try:
            piece = response.read(min(PIECE, self._left or 0), decode_content=False)
        except HTTPError:
            self.close()
            raise
        if not piece:
            self.close()
            raise ProtocolError("The answer ended early.")
        return piece

    def _open(self) -> BaseHTTPResponse:
        # Content under a key never changes; if somebody changed it all the same, two halves must not meet.
        headers = {"If-Match": self._etag} if self._etag else {}
        response = self._store.client.get_object(
            self._store.address.bucket,
            self._key,
            offset=self._at,
            length=self._left or 0,
            request_headers=cast("DictType", headers),
        )
        self._response = response
        if self._at and response.status != 206:
            self.close()
            raise ProtocolError("All of an object came where a part was asked for.")
        return response


def _size_of_object(response: BaseHTTPResponse) -> int:
    whole = response.headers.get("content-range", "").rpartition("/")[2]
    return int(whole or response.headers.get("content-length", "0"))
