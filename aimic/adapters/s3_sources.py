"""Objects in buckets that belong to others: read with our key, never written; no bucket is ever made.

What IT sets in the store: a key that may s3:GetObject there, and s3:ListBucket where prefixes shall be named.
"""

import logging
import ssl
import threading
from collections.abc import Callable
from itertools import islice
from typing import Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

from aimic.adapters import s3_address, s3_reading
from aimic.adapters.s3_connection import Connection
from aimic.adapters.s3_errors import status_of
from aimic.errors import AimicError, CorruptError, ForbiddenError, NotFoundError, UnavailableError
from aimic.ports.blobs import BlobInfo
from aimic.settings import Settings, proxy_of

logger = logging.getLogger(__name__)
T = TypeVar("T")


class S3Sources:
    """Keeps the promises of `aimic.ports.sources.Sources` for some buckets of one store.

    Shared by all threads of a process; making one opens nothing.
    """

    def __init__(self, buckets: dict[str, Connection]) -> None:
        self._buckets = buckets

    @classmethod
    def of(cls, settings: Settings, url: str, setting: str, buckets: set[str]) -> Self:
        """`buckets` of the store at `url`, which stands in `setting`; SystemExit, in words, when that can't be."""
        keys = settings.secret("s3_access_key"), settings.secret("s3_secret_key")
        if not keys[0] or not keys[1]:
            raise SystemExit(
                f"{setting} names an S3 store, so AIMIC_S3_ACCESS_KEY and AIMIC_S3_SECRET_KEY (or their _FILE) "
                "must be set too. Nothing was started."
            )
        try:
            addresses = [s3_address.parse(_with_bucket(url, bucket)) for bucket in sorted(buckets)]
            trust = ssl.create_default_context(cafile=settings.s3_ca_file)
        except ValueError as error:
            raise SystemExit(f"{error} Nothing was started.".replace("AIMIC_BLOBS_URL", setting)) from None
        except OSError as error:
            raise SystemExit(f"AIMIC_S3_CA_FILE: {settings.s3_ca_file} can't be used ({error}).") from None
        pair = (keys[0], keys[1])
        return cls({each.bucket: _Foreign(each, pair, trust, proxy_of(each.endpoint.url)) for each in addresses})

    def stat(self, bucket: str, key: str) -> BlobInfo:
        """Size of an object."""
        store = self._buckets[bucket]
        found = _asked(lambda: store.call(lambda: store.client.stat_object(bucket, key), key), bucket, key)
        return BlobInfo(key=key, size=found.size or 0)

    def read(self, bucket: str, key: str, most: int, stopped: threading.Event) -> bytes:
        """The first `most` bytes; CorruptError when all are read and don't match a checksum that the store keeps."""

        def all_pieces() -> bytes:
            found = []
            for piece in s3_reading.pieces(self._buckets[bucket], key, 0, most):
                if stopped.is_set():
                    break
                found.append(piece)
            return b"".join(found)

        return _asked(all_pieces, bucket, key)

    def list(self, bucket: str, prefix: str, most: int) -> list[BlobInfo]:
        """The first `most` objects whose key starts with `prefix`, in the order of keys."""
        store = self._buckets[bucket]

        def ask() -> list[BlobInfo]:
            objects = store.client.list_objects(bucket, prefix, recursive=True)
            # A folder that somebody made in a web page is an empty object whose name ends like this.
            files = (one for one in objects if not (one.object_name or "/").endswith("/"))
            return [BlobInfo(key=one.object_name or "", size=one.size or 0) for one in islice(files, most)]

        return _asked(lambda: store.call(ask, prefix), bucket, prefix)


class _Foreign(Connection):
    """A bucket that we don't make, so that a refusal never means that it is being made."""

    def _is_young(self, _error: Exception, _turn: int) -> bool:
        return False


def _with_bucket(url: str, bucket: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{bucket}"))


def _asked(work: Callable[[], T], bucket: str, key: str) -> T:
    """What `work` gives; its errors in the words of somebody who only reads."""
    name = f"s3://{bucket}/{key}"
    try:
        return work()
    except NotFoundError as error:
        raise NotFoundError(f"There is nothing at {name}, so nothing was classified. Check the name.") from error
    except CorruptError:
        raise
    except AimicError as error:
        if error.__cause__ is not None and status_of(_exception(error.__cause__)) in {401, 403}:
            raise ForbiddenError(
                f"The store doesn't let our key read {name}, so nothing was classified. Whoever runs the store can "
                "allow it s3:GetObject there, and s3:ListBucket for a prefix."
            ) from error
        logger.warning("a source can't be read", extra={"reason": error.message})
        raise UnavailableError(
            "The object store can't be used now, so nothing was classified. Images that are sent are.",
            retry_after_s=error.retry_after_s,
        ) from error


def _exception(cause: BaseException) -> Exception:
    return cause if isinstance(cause, Exception) else RuntimeError()
