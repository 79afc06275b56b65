"""Objects of an S3 store by presigned addresses, with no other credential than what is in them."""

import hashlib
import re
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from random import SystemRandom
from typing import BinaryIO, TypeVar, cast
from uuid import uuid4

import httpx

from aimic.adapters import s3_codes
from aimic.adapters.s3_checksums import Check
from aimic.errors import CorruptError, FullError, NotFoundError, UnavailableError
from aimic.settings import Settings

T = TypeVar("T")
READ_PATIENCE_S = 60.0
"""No download is begun again this long after it began or last went on: waiting is cheaper than a lost attempt."""
WRITE_PATIENCE_S = 10.0
"""Shorter: whoever writes asks for a fresh address and comes again."""
_TIMEOUT = httpx.Timeout(15.0, connect=2.0)
_SEND_TIMEOUT = httpx.Timeout(60.0, connect=2.0)
"""A store answers a large file once all of it is on its disks."""
_LONGEST_PAUSE_S = 4.0
_CODE = re.compile(rb"<Code>(\w{1,60})</Code>")
_random = SystemRandom()


class AddressExpiredError(UnavailableError):
    """The store no longer takes this address. Nothing is wrong with the object: ask ingest for a new address."""

    code, title = "address_expired", "An address to the object store has expired"


class _PassingError(Exception):
    """An answer after which the same request may succeed."""


@cache
def client() -> httpx.Client:
    """One pool of connections for all threads of this process; opened when the first address is used."""
    return open_client(Settings().s3_ca_file)


def open_client(ca_file: Path | None) -> httpx.Client:
    """A pool that trusts the certificates in `ca_file`, or the machine's own."""
    # HTTP(S)_PROXY and NO_PROXY hold, as for every tool of the machine, but never for the machine itself.
    own = dict.fromkeys(("all://127.0.0.1", "all://localhost", "all://[::1]"))
    limits = httpx.Limits(max_keepalive_connections=32, keepalive_expiry=30.0)
    try:
        trust = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise UnavailableError(f"AIMIC_S3_CA_FILE of the trainer: {ca_file} can't be used ({error}).") from error
    return httpx.Client(
        verify=trust,
        timeout=_TIMEOUT,
        limits=limits,
        mounts=own,
        headers={"accept-encoding": "identity"},
    )


def read(url: str, what: str, sha256: str | None = None) -> bytes:
    """All bytes, checked. CorruptError when they are damaged, also the second time that they are read."""

    def work(_: "_Patience") -> bytes:
        response = client().get(url)
        if not response.is_success:
            raise _refusal(response, what)
        check = Check(response.headers, sha256)
        check.update(response.content)
        check.finish(what)
        return response.content

    return _twice(lambda: _tried(work, what, READ_PATIENCE_S))


def fetch(url: str, target: Path, what: str) -> None:
    """Copy to `target`, which appears when all is there and checked; a broken download goes on where it broke."""
    aside = target.with_name(f"{target.name}.{uuid4().hex}.part")
    try:
        with aside.open("w+b") as out:
            _twice(lambda: _tried(_Download(url, cast("BinaryIO", out), what).go_on, what, READ_PATIENCE_S))
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


def send(source: Path, url: str) -> None:
    """Write the file with its MD5, by which the store refuses what changed on the way."""
    with source.open("rb") as data:
        digest = hashlib.file_digest(data, lambda: hashlib.md5(usedforsecurity=False)).digest()
    headers = {"content-length": str(source.stat().st_size), "content-md5": b64encode(digest).decode()}

    def work(_: "_Patience") -> None:
        with source.open("rb") as data:
            response = client().put(url, content=data, headers=headers, timeout=_SEND_TIMEOUT)
        if response.status_code == 404:
            raise UnavailableError(f"The object store's bucket is gone, so {source.name} can't be written.")
        if not response.is_success:
            raise _refusal(response, source.name)

    _tried(work, source.name, WRITE_PATIENCE_S)


class _Patience:
    """Pauses between tries, each somewhere up to a bound that doubles, until none is left."""

    def __init__(self, seconds: float, what: str) -> None:
        self._seconds = seconds
        self._what = what
        self.went_on()

    def went_on(self) -> None:
        """Begin anew: the last try was of use."""
        self._end = time.monotonic() + self._seconds
        self._bound = 0.25

    def wait(self, error: Exception) -> None:
        """Sleep; UnavailableError when that would be too long."""
        pause = _random.uniform(0, self._bound)
        if time.monotonic() + pause > self._end:
            raise UnavailableError(
                f"The object store can't be reached for {self._what}. What it holds is safe; the task is tried again."
            ) from error
        self._bound = min(_LONGEST_PAUSE_S, 2 * self._bound)
        time.sleep(pause)


class _Download:
    """What came so far of one object, in a file."""

    def __init__(self, url: str, out: BinaryIO, what: str) -> None:
        self._url, self._out, self._what = url, out, what
        self._begin({})

    def go_on(self, patience: _Patience) -> None:
        """Get what is missing, and check the whole."""
        # Without an ETag the halves of two objects could meet.
        at = self._out.tell() if self._etag else 0
        ask = {"range": f"bytes={at}-", "if-match": self._etag} if at else {}
        with client().stream("GET", self._url, headers=ask) as response:
            if response.status_code in {412, 416}:
                self._begin({})
                raise _PassingError("the object was replaced meanwhile")
            if not response.is_success:
                response.read()
                raise _refusal(response, self._what)
            if response.status_code != 206:
                self._begin(response.headers)
            for piece in response.iter_bytes():
                self._out.write(piece)
                self._check.update(piece)
                patience.went_on()
        self._out.flush()
        self._check.finish(self._what)

    def _begin(self, headers: Mapping[str, str]) -> None:
        self._out.seek(0)
        self._out.truncate()
        self._etag = headers.get("etag", "")
        self._check = Check(headers)


def _twice(work: Callable[[], T]) -> T:
    try:
        return work()
    except CorruptError:
        # Perhaps only on its way.
        return work()


def _tried(work: Callable[[_Patience], T], what: str, seconds: float) -> T:
    patience = _Patience(seconds, what)
    while True:
        try:
            return work(patience)
        except (httpx.TransportError, _PassingError) as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise UnavailableError(
                    "The certificate of the object store is not trusted. Put its authority's certificate into a file "
                    "and name that in AIMIC_S3_CA_FILE of the trainer."
                ) from error
            patience.wait(error)


def _refusal(response: httpx.Response, what: str) -> Exception:
    """The error for an answer that is one."""
    status = response.status_code
    found = _CODE.search(response.content)
    code = s3_codes.plain(found[1].decode()) if found else ""
    name = f"{status} {code}".strip()
    if status == 404:
        return NotFoundError(f"The object store no longer has {what}.")
    if status in {401, 403} or "Expired" in code:
        return AddressExpiredError(f"The object store no longer takes the address given for {what} ({name}).")
    if s3_codes.is_full(status, code):
        return FullError(
            f"The object store is full, so {what} can't be written. Make room in it; nothing else is lost."
        )
    if s3_codes.may_pass(status, code):
        return _PassingError(f"the object store answered {name}")
    return UnavailableError(f"The object store refused {what} ({name}).")
