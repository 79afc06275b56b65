"""What the headers of an S3 answer promise of an object's bytes. Shared by both ends: the adapter, the trainers."""

import hashlib
import re
from collections.abc import Mapping

from aimic.errors import CorruptError

SHA256_HEADER = "x-amz-meta-sha256"
"""Metadata of every object that the adapter writes. A presigned address can't carry it."""
_MD5 = re.compile(r"[0-9a-f]{32}")


class Check:
    """Bytes against the object's SHA-256 if its metadata names one, else against its ETag if that is an MD5.

    The ETag is the MD5 of the bytes unless the object came in several parts (then it has a `-`), or the store
    encrypts it with a key of KMS or of the client (AWS, "Object integrity: ETag"). Then there is nothing to check.
    """

    def __init__(self, headers: Mapping[str, str], sha256: str | None = None) -> None:
        """`sha256`, where the caller knows it better than the store."""
        self._algorithm, self._expected = ("sha256", sha256) if sha256 else _promise(headers)
        self._digest = hashlib.new(self._algorithm, usedforsecurity=False) if self._algorithm else None

    def update(self, piece: bytes) -> None:
        """Take the next bytes into account."""
        if self._digest is not None:
            self._digest.update(piece)

    def finish(self, what: str) -> None:
        """CorruptError when all the bytes aren't those that were promised."""
        if self._digest is not None and self._digest.hexdigest() != self._expected:
            raise damaged(what, self._algorithm)


def damaged(what: str, algorithm: str) -> CorruptError:
    """The error to raise of an object whose bytes don't match."""
    name = {"sha256": "SHA-256", "md5": "MD5"}[algorithm]
    return CorruptError(
        f"The stored bytes of {what} are damaged: they don't match their {name} any more. They were not used. "
        "Restore the object store from its backup, or remove what they belong to and add it again."
    )


def _promise(headers: Mapping[str, str]) -> tuple[str, str]:
    if sha256 := headers.get(SHA256_HEADER):
        return "sha256", sha256.lower()
    etag = headers.get("etag", "").strip('"')
    encrypted = (
        headers.get("x-amz-server-side-encryption", "").startswith("aws:kms")
        or "x-amz-server-side-encryption-customer-algorithm" in headers
    )
    if encrypted or not _MD5.fullmatch(etag):
        return "", ""
    return "md5", etag
