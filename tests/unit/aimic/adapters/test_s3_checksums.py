"""What an answer's headers promise of its bytes."""

import hashlib

import pytest

from aimic.adapters.s3_checksums import Check
from aimic.errors import CorruptError

MD5 = hashlib.md5(b"data").hexdigest()
SHA256 = hashlib.sha256(b"data").hexdigest()
OTHER = "0" * 32


def _finish(headers: dict[str, str], data: bytes = b"data", sha256: str | None = None) -> None:
    check = Check(headers, sha256)
    for letter in data:
        check.update(bytes([letter]))
    check.finish("it")


def test_bytes_that_match_pass() -> None:
    _finish({"x-amz-meta-sha256": SHA256, "etag": f'"{OTHER}"'})
    _finish({"etag": f'"{MD5}"'})
    _finish({"etag": f'"{MD5}"', "x-amz-server-side-encryption": "AES256"})
    _finish({"x-amz-meta-sha256": "0" * 64}, sha256=SHA256)


@pytest.mark.parametrize("headers", [{"x-amz-meta-sha256": "0" * 64}, {"etag": f'"{OTHER}"'}])
def test_bytes_that_do_not_match_are_damaged(headers: dict[str, str]) -> None:
    with pytest.raises(CorruptError, match="damaged"):
        _finish(headers)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"etag": f'"{OTHER}-3"'},
        {"etag": f'W/"{OTHER}"'},
        {"etag": OTHER, "x-amz-server-side-encryption": "aws:kms"},
        {"etag": OTHER, "x-amz-server-side-encryption": "aws:kms:dsse"},
        {"etag": OTHER, "x-amz-server-side-encryption-customer-algorithm": "AES256"},
    ],
)
def test_an_etag_that_is_no_md5_promises_nothing(headers: dict[str, str]) -> None:
    _finish(headers)
