"""What an S3 store's refusals mean to whoever asked."""

import ssl

import pytest
import urllib3
from minio.error import InvalidResponseError, S3Error, ServerError
from urllib3 import exceptions

from aimic.adapters.s3_address import parse
from aimic.adapters.s3_errors import explained, may_pass
from aimic.errors import AimicError, ConflictError, FullError, NotFoundError, UnavailableError

ADDRESS = parse("s3+https://store.example/cells")


def _answer(status: int, code: str, message: str = "") -> S3Error:
    return S3Error(urllib3.HTTPResponse(status=status), code, message, "/cells/key", "request", "host")


def _lost() -> exceptions.HTTPError:
    return exceptions.ProtocolError("Connection aborted.")


@pytest.mark.parametrize(
    "error",
    [
        _answer(503, "SlowDown"),
        _answer(500, "InternalError"),
        _answer(400, "RequestTimeout"),
        _answer(429, "TooManyRequests"),
        _answer(400, "BadDigest"),
        _answer(503, "XMinioServerNotInitialized"),
        ServerError("bad gateway", 502),
        InvalidResponseError(504, "text/html", "<html>"),
        _lost(),
        exceptions.SSLError(ssl.SSLEOFError("EOF occurred")),
    ],
)
def test_what_may_pass_is_tried_again_and_unavailable_at_last(error: Exception) -> None:
    assert may_pass(error)
    said = explained(error, "key", ADDRESS)
    assert type(said) is UnavailableError
    assert said.retry_after_s
    assert "safe" in said.message


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (_answer(404, "NoSuchKey"), NotFoundError, "key"),
        (_answer(404, "NoSuchBucket"), NotFoundError, "key"),
        (_answer(507, "XMinioStorageFull"), FullError, "full"),
        (_answer(400, "XMinioAdminBucketQuotaExceeded"), FullError, "full"),
        (_answer(403, "QuotaExceeded"), FullError, "full"),
        (ServerError("insufficient storage", 507), FullError, "full"),
        (_answer(400, "XMinioParentIsObject"), ConflictError, "beginning"),
        (_answer(403, "InvalidAccessKeyId"), UnavailableError, "AIMIC_S3_ACCESS_KEY"),
        (_answer(403, "SignatureDoesNotMatch"), UnavailableError, "AIMIC_S3_SECRET_KEY"),
        (_answer(403, "AccessDenied"), UnavailableError, "s3:ListBucket"),
        (_answer(403, "RequestTimeTooSkewed"), UnavailableError, "clock"),
        (_answer(400, "AuthorizationHeaderMalformed"), UnavailableError, "region"),
        (_answer(400, "BadRequest", "Bad request; use region eu"), UnavailableError, "region"),
        (_answer(412, "PreconditionFailed"), UnavailableError, "replaced"),
        (_answer(501, "NotImplemented"), UnavailableError, "refused"),
        (exceptions.SSLError("CERTIFICATE_VERIFY_FAILED"), UnavailableError, "AIMIC_S3_CA_FILE"),
    ],
)
def test_what_stays_is_told_at_once_in_words(error: Exception, kind: type[AimicError], words: str) -> None:
    assert not may_pass(error)
    said = explained(error, "key", ADDRESS)
    assert type(said) is kind
    assert words in said.message


def test_a_store_behind_a_proxy_and_something_that_is_no_store() -> None:
    behind = explained(exceptions.ProxyError("no", OSError()), "key", ADDRESS)
    assert "NO_PROXY" in behind.message
    try:
        b"\xff".decode()
    except UnicodeDecodeError as error:
        assert "doesn't speak S3" in explained(error, "key", ADDRESS).message
