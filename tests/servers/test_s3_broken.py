"""The S3 adapter and the trainer's transfers while the store is away, cut off, slow or silent."""

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import urllib3

from aimic.adapters import s3_connection
from aimic.adapters.s3_blobs import S3Blobs
from aimic.errors import UnavailableError
from aimic.settings import Settings
from services.local.servers.install import toxiproxy
from services.local.servers.minio import Minio
from services.local.servers.together import fields
from services.local.servers.toxiproxy import Proxy, Toxiproxy
from services.trainer import presigned

pytestmark = pytest.mark.servers
MIB = 1 << 20


@pytest.fixture(scope="module")
def proxies() -> Iterator[Toxiproxy]:
    with Toxiproxy(toxiproxy()) as running:
        yield running


@pytest.fixture
def proxy(proxies: Toxiproxy, minio_server: Minio) -> Proxy:
    return proxies.proxy(f"127.0.0.1:{minio_server.port}")


@pytest.fixture
def behind(proxy: Proxy, minio_server: Minio, tmp_path: Path) -> S3Blobs:
    """The store by an address that can be cut."""
    made = S3Blobs.of(Settings(home=tmp_path, **fields(minio_server.environment(None, proxy.port))))
    made.ping()
    return made


def _later(seconds: float, work: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(seconds, work)
    timer.start()
    return timer


def _again_in(proxy: Proxy, seconds: float) -> threading.Timer:
    proxy.cut()
    return _later(seconds, proxy.heal)


def test_a_read_goes_on_after_its_connection_broke(behind: S3Blobs, proxy: Proxy) -> None:
    data = os.urandom(20 * MIB)
    behind.put("large", data)
    pieces = behind.read("large")
    came = [next(pieces) for _ in range(5)]
    timer = _again_in(proxy, 0.5)
    assert b"".join([*came, *pieces]) == data
    timer.join()


def test_a_put_goes_on_after_its_connection_broke(behind: S3Blobs, proxy: Proxy) -> None:
    data = os.urandom(20 * MIB)
    timers: list[threading.Timer] = []

    class Cuts(io.BytesIO):
        def seek(self, position: int, whence: int = 0, /) -> int:
            timers.append(_again_in(proxy, 0.5))
            return super().seek(position, whence)

    behind.put("large", Cuts(data))
    assert behind.get("large") == data
    (timer,) = timers
    timer.join()


def test_a_download_goes_on_after_its_connection_broke(behind: S3Blobs, proxy: Proxy, tmp_path: Path) -> None:
    data = os.urandom(20 * MIB)
    behind.put("large", data)
    proxy.limit(20 * MIB)
    timers = [_later(0.4, lambda: timers.append(_again_in(proxy, 0.3)))]
    presigned.fetch(behind.url_to_get("large", 60), tmp_path / "got", "it")
    assert (tmp_path / "got").read_bytes() == data
    assert len(timers) == 2
    timers[1].join()


def test_a_store_that_is_gone_is_told_within_a_bounded_time(
    behind: S3Blobs, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_connection, "RETRY_S", 1.0)
    behind.put("a", b"data")
    proxy.cut()
    asks: list[Callable[[], object]] = [
        lambda: behind.get("a"),
        lambda: behind.put("a", b"x" * 9 * MIB),
        lambda: list(behind.list("")),
    ]
    for ask in asks:
        started = time.monotonic()
        with pytest.raises(UnavailableError, match="can't be reached") as caught:
            ask()
        assert caught.value.retry_after_s
        assert time.monotonic() - started < 6
    proxy.heal()
    assert behind.get("a") == b"data"


def test_ping_answers_within_three_seconds_whatever_happens(behind: S3Blobs, proxy: Proxy) -> None:
    def took() -> float:
        started = time.monotonic()
        with pytest.raises(UnavailableError):
            behind.ping()
        return time.monotonic() - started

    for breaks in (proxy.cut, proxy.hang):
        breaks()
        assert any(took() < 3 for _ in range(3))  # a machine that stands still spoils one of them
        proxy.heal()
    behind.ping()


def test_a_silent_store_is_given_up_after_a_read_timeout(
    proxy: Proxy, minio_server: Minio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_connection, "TIMEOUT", urllib3.Timeout(connect=2.0, read=1.0))
    monkeypatch.setattr(s3_connection, "RETRY_S", 1.0)
    blobs = S3Blobs.of(Settings(home=tmp_path, **fields(minio_server.environment(None, proxy.port))))
    blobs.put("a", b"data")
    proxy.hang()
    started = time.monotonic()
    with pytest.raises(UnavailableError):
        blobs.get("a")
    assert 1 <= time.monotonic() - started < 8  # and not after the 15 of a store that isn't this test's
    proxy.heal()


def test_what_was_acknowledged_outlives_a_killed_store_and_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_connection, "RETRY_S", 60.0)  # on a busy machine the store takes its time to come back
    with Minio(tmp_path / "minio") as server:
        blobs = S3Blobs.of(Settings(home=tmp_path, **fields(server.environment())))
        data = os.urandom(9 * MIB)
        blobs.put("before", data)
        server.kill()
        timer = _later(1.0, server.start)
        blobs.put("during", io.BytesIO(data))
        timer.join()
        assert blobs.get("before") == data
        assert blobs.get("during") == data
        assert {info.key for info in blobs.list("")} == {"before", "during"}
