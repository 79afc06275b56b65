"""One store's client, and the way every request to it goes: bounded, repeated where that helps, explained where not."""

import socket
import ssl
import time
from collections.abc import Callable
from itertools import count
from random import SystemRandom
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import urllib3
from minio import Minio
from minio.error import S3Error
from urllib3.connection import HTTPConnection

from aimic.adapters.s3_address import Address, Endpoint
from aimic.adapters.s3_errors import FAILURES, NO_BUCKET, code_of, explained, may_pass
from aimic.errors import UnavailableError

T = TypeVar("T")
RETRY_S = 8.0
"""No request is begun again this long after the first: a store that restarts is waited for, a dead one is told."""
PING_RETRY_S = 0.8
TIMEOUT = urllib3.Timeout(connect=2.0, read=15.0)
PING_TIMEOUT = urllib3.Timeout(total=2.0)
_YOUNG_S = 10.0
_YOUNG_TURNS = 5
"""A bucket that somebody makes at this moment refuses some first objects (MinIO: 403 AccessDenied, in 3 of 400 tries
with four writers). So as long as the bucket may be young, a refusal is asked about this often before it is believed."""
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
_CONNECTIONS = 64
"""Kept open between requests; more are made when more threads ask, and closed afterwards."""
_KEPT_ALIVE = [
    *HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]
"""Firewalls forget quiet connections without a word; so they are never quiet, and a dead one is noticed unused."""
_random = SystemRandom()


class Connection:
    """Shared by all threads of a process. Making one opens nothing."""

    def __init__(self, address: Address, keys: tuple[str, str], trust: ssl.SSLContext, proxy: str | None) -> None:
        self.address = address
        self._keys = keys
        self._bucket_at: float | None = None
        """When we first knew the bucket to be there, on the monotonic clock."""
        self.client = self._client(address.endpoint, _pool(TIMEOUT, trust, proxy))
        self.signer = self._client(address.worker_endpoint, _pool(TIMEOUT, trust, proxy))
        """Signs addresses for workers, without a request: the signature covers the host they ask."""
        self._pinger = self._client(address.endpoint, _pool(PING_TIMEOUT, trust, proxy))

    def call(self, work: Callable[[], T], what: str, retry_s: float | None = None) -> T:
        """What `work` returns, tried again while that may help; else the error in words, of the object `what`."""
        deadline = time.monotonic() + (RETRY_S if retry_s is None else retry_s)
        for turn in count():
            try:
                return work()
            except FAILURES as error:
                pause = _pause(turn)
                if not (may_pass(error) or self._is_young(error, turn)) or time.monotonic() + pause > deadline:
                    raise explained(error, what, self.address) from error
            time.sleep(pause)
        raise AssertionError("count() has no end")

    def call_in_bucket(self, work: Callable[[], T], what: str) -> T:
        """As `call`, for what needs the bucket: it is made if it is missing."""

        def in_bucket() -> T:
            try:
                return work()
            except S3Error as error:
                if code_of(error) != NO_BUCKET:
                    raise
            self._make_bucket(self.client)
            return work()

        answer = self.call(in_bucket, what)
        self._saw_bucket()
        return answer

    def ensure_bucket(self) -> None:
        """Make the bucket if it may be missing: asks once in the life of a process that has not stored anything."""
        if self._bucket_at is None:
            self.ping()

    def ping(self) -> None:
        """One cheap request within 3 s; makes the bucket if it is missing."""

        def ask() -> None:
            if not self._pinger.bucket_exists(self.address.bucket):
                self._make_bucket(self._pinger)

        self.call(ask, self.address.bucket, PING_RETRY_S)
        self._saw_bucket()

    def _saw_bucket(self) -> None:
        if self._bucket_at is None:
            self._bucket_at = time.monotonic()

    def _is_young(self, error: Exception, turn: int) -> bool:
        """Whether a refusal may only mean that the bucket is being made."""
        young = self._bucket_at is None or time.monotonic() - self._bucket_at < _YOUNG_S
        return young and turn < _YOUNG_TURNS and code_of(error) == "AccessDenied"

    def _make_bucket(self, client: Minio) -> None:
        bucket = self.address.bucket
        try:
            client.make_bucket(bucket)
        except S3Error as error:
            if code_of(error) == "BucketAlreadyOwnedByYou":
                return
            if code_of(error) == "BucketAlreadyExists":
                raise _no_bucket(bucket, "somebody else has one of this name", "choose another name") from error
            if may_pass(error):
                raise
            why = f"our key may not make it ({code_of(error)})"
            raise _no_bucket(bucket, why, "have it made, or allow the key s3:CreateBucket") from error

    def _client(self, endpoint: Endpoint, pool: urllib3.PoolManager) -> Minio:
        access, secret = self._keys
        made = Minio(
            endpoint.host,
            access_key=access,
            secret_key=secret,
            secure=endpoint.secure,
            region=self.address.region,
            http_client=pool,
        )
        if self.address.style == "virtual":
            made.enable_virtual_style_endpoint()  # type: ignore[no-untyped-call] # the client left it out
        elif self.address.style == "path":
            made.disable_virtual_style_endpoint()  # type: ignore[no-untyped-call] # the client left it out
        return made


def _no_bucket(bucket: str, why: str, remedy: str) -> UnavailableError:
    return UnavailableError(
        f"There is no bucket {bucket} in the object store, and {why}. Nothing was stored. In AIMIC_BLOBS_URL or "
        f"in the store, {remedy}.",
        retry_after_s=30,
    )


def _pool(timeout: urllib3.Timeout, trust: ssl.SSLContext, proxy: str | None) -> urllib3.PoolManager:
    how: dict[str, Any] = {
        "maxsize": _CONNECTIONS,
        "timeout": timeout,
        "retries": False,  # the client's own would wait up to 25 minutes, unseen by whoever asked
        "ssl_context": trust,
        "socket_options": _KEPT_ALIVE,
    }
    if proxy is None:
        return urllib3.PoolManager(**how)
    return urllib3.ProxyManager(proxy, proxy_headers=_proxy_headers(proxy), **how)


def _proxy_headers(proxy: str) -> dict[str, str]:
    parts = urlsplit(proxy)
    if parts.username is None:
        return {}
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return dict(urllib3.util.make_headers(proxy_basic_auth=user))


def _pause(turn: int) -> float:
    """Seconds: all of up to a bound that doubles, so that many who failed together don't come back together."""
    return _random.uniform(0, min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**turn))
