"""Reading other people's buckets: one request after the other, answered by a store in this process."""

import io
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3

from aimic.adapters import s3_connection
from aimic.adapters.s3_sources import S3Sources
from aimic.errors import ForbiddenError, NotFoundError, UnavailableError
from aimic.settings import Settings

pytestmark = pytest.mark.usefixtures("pauses")
LISTED = b"""<ListBucketResult><Name>slides</Name><IsTruncated>false</IsTruncated>
<Contents><Key>a/</Key><Size>0</Size></Contents><Contents><Key>a/1</Key><Size>3</Size></Contents>
<Contents><Key>a/2</Key><Size>4</Size></Contents><Contents><Key>a/3</Key><Size>5</Size></Contents></ListBucketResult>"""


class Store(urllib3.PoolManager):
    """Answers all requests alike."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str]] = []
        self.ranges: list[str] = []
        self.answer: tuple[int, bytes] | Exception = (200, b"")

    def urlopen(self, method: str, url: str, redirect: bool = True, **more: Any) -> Any:  # type: ignore[override] # a narrower answer
        parts = urlsplit(url)
        self.seen.append((method, f"{parts.netloc}{parts.path}"))
        self.ranges.append({name.lower(): value for name, value in more["headers"].items()}.get("range", ""))
        if isinstance(self.answer, Exception):
            raise self.answer
        status, body = self.answer
        headers = {"content-length": str(len(body)), "content-type": "application/xml", "location": "http://elsewhere/"}
        return urllib3.HTTPResponse(io.BytesIO(body), status=status, headers=headers, preload_content=False)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store()
    monkeypatch.setattr(s3_connection, "_pool", lambda *_: made)
    return made


@pytest.fixture
def sources(store: Store, tmp_path: Path) -> S3Sources:
    settings = Settings(home=tmp_path, s3_access_key="a", s3_secret_key="s")
    return S3Sources.of(settings, "s3+http://store:9000?style=path", "AIMIC_INFERENCE_S3_URL", {"slides"})


def error(status: int, code: str) -> tuple[int, bytes]:
    return status, f"<Error><Code>{code}</Code></Error>".encode()


def test_only_so_much_is_asked_for_as_is_wanted(sources: S3Sources, store: Store) -> None:
    store.answer = (206, b"dat")
    assert sources.read("slides", "a b/ü", 3, threading.Event()) == b"dat"
    assert store.seen == [("GET", "store:9000/slides/a%20b/%C3%BC")] and store.ranges == ["bytes=0-2"]


def test_objects_below_a_prefix_without_empty_folders(sources: S3Sources, store: Store) -> None:
    store.answer = (200, LISTED)
    assert [(info.key, info.size) for info in sources.list("slides", "a/", 2)] == [("a/1", 3), ("a/2", 4)]


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidAccessKeyId"])
def test_what_our_key_may_not_is_said_at_once(sources: S3Sources, store: Store, code: str) -> None:
    store.answer = error(403, code)
    with pytest.raises(ForbiddenError, match="s3://slides/a, so nothing was classified"):
        sources.read("slides", "a", 3, threading.Event())
    assert len(store.seen) == 1


@pytest.mark.parametrize("code", ["NoSuchKey", "NoSuchBucket"])
def test_what_is_missing_is_named_and_no_bucket_is_made(sources: S3Sources, store: Store, code: str) -> None:
    store.answer = error(404, code)
    for ask in (lambda: sources.read("slides", "a", 3, threading.Event()), lambda: sources.list("slides", "a", 3)):
        with pytest.raises(NotFoundError, match="s3://slides/a"):
            ask()
    assert {method for method, _ in store.seen} == {"GET"}


@pytest.mark.parametrize("answer", [urllib3.exceptions.ProtocolError("gone"), error(503, "SlowDown")])
def test_a_store_that_is_away_is_waited_for_and_then_told(
    sources: S3Sources, store: Store, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    monkeypatch.setattr(s3_connection, "RETRY_S", 0.0)
    store.answer = answer
    with pytest.raises(UnavailableError, match="nothing was classified") as caught:
        sources.stat("slides", "a")
    assert caught.value.retry_after_s


def test_a_store_sends_us_nowhere_else(sources: S3Sources, store: Store) -> None:
    store.answer = (307, b"")
    with pytest.raises(UnavailableError):
        sources.read("slides", "a", 3, threading.Event())
    assert {place for _, place in store.seen} == {"store:9000/slides/a"}


def test_another_bucket_than_those_of_the_settings_is_a_mistake_of_ours(sources: S3Sources, store: Store) -> None:
    with pytest.raises(KeyError):
        sources.stat("others", "a")
    assert store.seen == []
