"""What S3's statuses and names of errors mean. Shared by both ends: the adapter, and the trainers without a client."""

_PASSING = {
    *("SlowDown", "SlowDownRead", "SlowDownWrite", "ServiceUnavailable", "InternalError", "RequestTimeout"),
    *("OperationAborted", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests"),
    # Bytes that changed on their way up: sent again, they may arrive.
    *("BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody"),
}
_FULL = ("StorageFull", "QuotaExceeded", "InsufficientStorage")


def plain(code: str) -> str:
    """The name without what MinIO puts before those that S3 itself doesn't have."""
    return code.removeprefix("XMinioAdmin").removeprefix("XMinio")


def is_full(status: int, code: str) -> bool:
    """Whether the store has no room: it won't have any within a second."""
    return status == 507 or any(word in code for word in _FULL)


def may_pass(status: int, code: str) -> bool:
    """Whether the same request may succeed a moment later."""
    if is_full(status, code):
        return False
    return code in _PASSING or status in {408, 429} or (status >= 500 and status != 501)
