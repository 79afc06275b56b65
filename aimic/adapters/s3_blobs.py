"""Objects in any S3: one bucket, immutable objects, nothing that only one maker's store can do.

What hospital IT sets in the store:
- a key that may s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject, s3:DeleteObject and
  s3:AbortMultipartUpload on its objects; s3:CreateBucket too if we shall make the bucket;
- a lifecycle rule AbortIncompleteMultipartUpload after one day: we abort what we break off ourselves, but a process
  that is killed in the middle of a large object can't (MinIO does so without a rule);
- no versioning, or a rule that ends old versions: a deleted image shall be gone.

A trainer writes with one presigned PUT, so its files may have 5 GiB at most.
"""

import ssl
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from typing import BinaryIO, Self

from aimic.adapters import s3_address, s3_reading, s3_writing
from aimic.adapters.s3_connection import Connection
from aimic.errors import InvalidInputError, NotFoundError
from aimic.ports.blobs import BlobInfo, check_range, key_parts
from aimic.settings import Settings, proxy_of

LONGEST_TTL_S = 7 * 24 * 3600
"""Signatures of S3 hold no longer."""
_PAGE = 1000
"""Objects that one request lists."""


class S3Blobs:
    """Keeps the promises of `aimic.ports.blobs.Blobs`. Shared by all threads of a process; making one opens nothing."""

    def __init__(self, store: Connection) -> None:
        self._store = store
        self._client = store.client
        self._bucket = store.address.bucket

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The store that the settings name; SystemExit, in words, when they don't."""
        try:
            address = s3_address.parse(settings.blobs_url, settings.s3_worker_url)
            trust = ssl.create_default_context(cafile=settings.s3_ca_file)
        except ValueError as error:
            raise SystemExit(f"{error} Nothing was started.") from None
        except OSError as error:
            raise SystemExit(f"AIMIC_S3_CA_FILE: {settings.s3_ca_file} can't be used ({error}).") from None
        keys = settings.secret("s3_access_key"), settings.secret("s3_secret_key")
        if not keys[0] or not keys[1]:
            raise SystemExit(
                "AIMIC_BLOBS_URL names an S3 store, so AIMIC_S3_ACCESS_KEY and AIMIC_S3_SECRET_KEY (or their _FILE) "
                "must be set too. Nothing was started."
            )
        # As every tool that IT knows (curl, aws): HTTP(S)_PROXY and NO_PROXY decide, and nothing else does.
        return cls(Connection(address, (keys[0], keys[1]), trust, proxy_of(address.endpoint.url)))

    def put(self, key: str, data: bytes | BinaryIO) -> BlobInfo:
        """Store durably; whole or not at all. What is 8 MiB or larger goes in parts, one of them in memory."""
        key_parts(key)
        return BlobInfo(key=key, size=s3_writing.put(self._store, key, data))

    def get(self, key: str) -> bytes:
        """All bytes, checked; NotFoundError when the key isn't there, CorruptError when they are damaged."""
        return b"".join(self.read(key))

    def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Stream a range; a whole object is checked, and one that is damaged ends in a CorruptError."""
        check_range(offset, length)
        key_parts(key)
        pieces = s3_reading.pieces(self._store, key, offset, length)
        next(pieces)  # asks now, so that a missing key is refused at once
        return pieces

    def stat(self, key: str) -> BlobInfo:
        """Size; NotFoundError when the key isn't there."""
        key_parts(key)
        found = self._store.call(lambda: self._client.stat_object(self._bucket, key), key)
        return BlobInfo(key=key, size=found.size or 0)

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        try:
            self.stat(key)
        except NotFoundError:
            return False
        return True

    def delete(self, key: str) -> None:
        """Remove the object; removing what isn't there is harmless."""
        key_parts(key)
        try:
            self._store.call(lambda: self._client.remove_object(self._bucket, key), key)
        except NotFoundError:
            return

    def url_to_get(self, key: str, ttl_s: int) -> str:
        """A presigned address under the host that workers reach, for at most 7 days; made without a request."""
        key_parts(key)
        return self._store.signer.presigned_get_object(self._bucket, key, expires=_term(ttl_s))

    def url_to_put(self, key: str, ttl_s: int) -> str:
        """A presigned address for one PUT of the whole object, as `url_to_get`; a worker can't make the bucket."""
        key_parts(key)
        self._store.ensure_bucket()
        return self._store.signer.presigned_put_object(self._bucket, key, expires=_term(ttl_s))

    def ping(self) -> None:
        """One request within 3 s; UnavailableError when the store or its bucket can't be used."""
        self._store.ping()

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """Objects whose key starts with `prefix`, in order of key."""
        if prefix.strip("/"):
            key_parts(prefix.rstrip("/"))
        last: str | None = None
        while True:
            page = _page(self._store, prefix, last)
            yield from (info for info in page if _is_key(info.key))
            if len(page) < _PAGE:
                return
            last = page[-1].key


def _page(store: Connection, prefix: str, last: str | None) -> list[BlobInfo]:
    def ask() -> list[BlobInfo]:
        found = store.client.list_objects(store.address.bucket, prefix, recursive=True, start_after=last)
        return [BlobInfo(key=one.object_name or "", size=one.size or 0) for one in islice(found, _PAGE)]

    try:
        return store.call(ask, prefix)
    except NotFoundError:  # no bucket yet
        return []


def _term(ttl_s: int) -> timedelta:
    return timedelta(seconds=max(1, min(ttl_s, LONGEST_TTL_S)))


def _is_key(key: str) -> bool:
    """Not so of what others put into our bucket: folder marks, names with blanks."""
    try:
        key_parts(key)
    except InvalidInputError:
        return False
    return True
