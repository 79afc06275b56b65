"""The promise of `aimic.ports.blobs.Blobs`, asked of every adapter."""

import errno
import io
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import pytest

from aimic import wiring
from aimic.adapters import local_blobs
from aimic.adapters.local_blobs import LocalBlobs
from aimic.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError
from aimic.ports.blobs import Blobs
from aimic.settings import Settings

Reopen = Callable[[], Blobs]


@pytest.fixture(params=["local"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Reopen:
    """A way to open the same store, as another process or a restart would."""
    urls = {"local": f"file://{tmp_path}/objects"}
    settings = Settings(home=tmp_path, blobs_url=urls[request.param])
    return lambda: wiring.blobs(settings)


@pytest.fixture
def blobs(reopen: Reopen) -> Blobs:
    return reopen()


def test_what_was_put_is_read_whole_after_reopening(blobs: Blobs, reopen: Reopen) -> None:
    info = blobs.put("local/ab/x.bin", b"hello")
    assert (info.key, info.size) == ("local/ab/x.bin", 5)
    other = reopen()
    assert other.get("local/ab/x.bin") == b"hello"
    assert other.stat("local/ab/x.bin").size == 5
    assert other.exists("local/ab/x.bin")


def test_a_stream_is_stored_and_read_in_pieces_of_at_most_one_mebibyte(blobs: Blobs) -> None:
    data = os.urandom(1 << 20) * 3 + b"end"
    assert blobs.put("big", io.BytesIO(data)).size == len(data)
    pieces = list(blobs.read("big"))
    assert max(map(len, pieces)) <= 1 << 20
    assert b"".join(pieces) == data


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, None, b"0123456789"),
        (3, None, b"3456789"),
        (3, 4, b"3456"),
        (8, 100, b"89"),
        (10, None, b""),
        (99, 5, b""),
        (2, 0, b""),
    ],
)
def test_a_range_is_cut_at_the_end(blobs: Blobs, offset: int, length: int | None, expected: bytes) -> None:
    blobs.put("r", b"0123456789")
    assert b"".join(blobs.read("r", offset, length)) == expected


def test_a_negative_range_is_refused(blobs: Blobs) -> None:
    blobs.put("r", b"0123456789")
    with pytest.raises(InvalidInputError):
        list(blobs.read("r", -1))
    with pytest.raises(InvalidInputError):
        list(blobs.read("r", 0, -1))


def test_putting_again_is_harmless(blobs: Blobs) -> None:
    blobs.put("a/b", b"same")
    blobs.put("a/b", b"same")
    assert blobs.get("a/b") == b"same"
    assert [info.key for info in blobs.list("a/")] == ["a/b"]


def test_an_empty_object_is_an_object(blobs: Blobs) -> None:
    blobs.put("empty", b"")
    assert blobs.get("empty") == b""
    assert list(blobs.read("empty")) == []


def test_what_is_missing_is_not_found(blobs: Blobs) -> None:
    for ask in (blobs.get, blobs.stat, blobs.read):
        with pytest.raises(NotFoundError):
            ask("no/such")
    assert not blobs.exists("no/such")
    blobs.delete("no/such")


def test_deleted_is_gone_and_its_neighbours_stay(blobs: Blobs) -> None:
    blobs.put("s/a/0", b"1")
    blobs.put("s/b/0", b"2")
    blobs.delete("s/a/0")
    assert not blobs.exists("s/a/0")
    assert [info.key for info in blobs.list("s/")] == ["s/b/0"]
    blobs.put("s/a/0", b"3")
    assert blobs.get("s/a/0") == b"3"


def test_list_names_what_starts_with_the_prefix(blobs: Blobs) -> None:
    for key in ("s/a1", "s/a2/x", "s/b", "t/a"):
        blobs.put(key, key.encode())
    assert {info.key for info in blobs.list("s/a")} == {"s/a1", "s/a2/x"}
    assert {info.key for info in blobs.list("")} == {"s/a1", "s/a2/x", "s/b", "t/a"}
    assert {info.size for info in blobs.list("s/a2/")} == {6}
    assert list(blobs.list("nothing/")) == []


@pytest.mark.parametrize(
    "key",
    [
        *("", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "../x", "a b", "a\\b"),
        *("a\0b", "ä", "a\n", "~tmp/x", "x" * 300, "a/" * 600 + "a"),
    ],
)
def test_a_key_outside_the_alphabet_is_refused_everywhere(blobs: Blobs, key: str) -> None:
    asks: list[Callable[[], object]] = [
        lambda: blobs.put(key, b""),
        lambda: blobs.get(key),
        lambda: list(blobs.read(key)),
        lambda: blobs.stat(key),
        lambda: blobs.exists(key),
        lambda: blobs.delete(key),
        lambda: blobs.url_to_get(key, 60),
        lambda: blobs.url_to_put(key, 60),
    ]
    for ask in asks:
        with pytest.raises(InvalidInputError):
            ask()


def test_writers_of_one_key_never_show_a_mixture(blobs: Blobs) -> None:
    whole = {bytes([letter]) * 200_000 for letter in b"abcd"}
    failures: list[BaseException] = []

    def write(data: bytes) -> None:
        try:
            for _ in range(10):
                blobs.put("shared/key", data)
                assert blobs.get("shared/key") in whole
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(data,)) for data in whole]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert blobs.get("shared/key") in whole


def test_put_and_delete_beside_each_other_in_one_place(blobs: Blobs) -> None:
    failures: list[BaseException] = []

    def churn(name: str) -> None:
        try:
            for _ in range(60):
                blobs.put(f"d/e/{name}", b"x")
                blobs.delete(f"d/e/{name}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=churn, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


class _Breaks(io.BytesIO):
    """A source that ends with an error after its first piece."""

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        if not piece:
            raise ValueError("the sender went away")
        return piece


def test_a_source_that_breaks_leaves_nothing(blobs: Blobs) -> None:
    with pytest.raises(ValueError, match="went away"):
        blobs.put("broken", _Breaks(b"half"))
    assert not blobs.exists("broken")
    assert list(blobs.list("")) == []


def test_ping_is_quiet_when_the_store_is_there(blobs: Blobs) -> None:
    blobs.ping()
    assert list(blobs.list("")) == []


class TestLocal:
    """What only files have."""

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return tmp_path / "ob jects"

    @pytest.fixture
    def local(self, root: Path) -> LocalBlobs:
        return LocalBlobs(root)

    def test_making_one_opens_nothing(self, local: LocalBlobs, root: Path) -> None:
        assert not root.exists()

    def test_urls_are_paths_in_an_existing_directory(self, local: LocalBlobs) -> None:
        put = Path(unquote(urlsplit(local.url_to_put("s/tasks/1/0", 60)).path))
        put.write_bytes(b"from the worker")
        assert local.get("s/tasks/1/0") == b"from the worker"
        assert local.url_to_get("s/tasks/1/0", 60) == put.as_uri()

    def test_a_full_disk_is_said_in_words_and_leaves_nothing(
        self, local: LocalBlobs, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        local.put("before", b"safe")

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(UnavailableError, match="full") as caught:
            local.put("after", b"x" * 1000)
        assert caught.value.retry_after_s
        assert not local.exists("after")
        assert local.get("before") == b"safe"
        assert [path.name for path in root.rglob("*") if path.is_file()] == ["before"]

    def test_ping_tells_of_a_disk_nearly_full(self, local: LocalBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
        class Usage(NamedTuple):
            free: int

        monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free=local_blobs.MIN_FREE - 1))
        with pytest.raises(UnavailableError, match="full"):
            local.ping()

    def test_ping_tells_of_a_place_that_is_no_directory(self, local: LocalBlobs, root: Path) -> None:
        root.write_text("a file")
        with pytest.raises((UnavailableError, ConflictError)):
            local.ping()

    def test_an_object_is_no_directory(self, local: LocalBlobs) -> None:
        local.put("a", b"1")
        with pytest.raises(ConflictError):
            local.put("a/b", b"2")
        assert local.get("a") == b"1"

    def test_what_a_killed_process_left_is_swept_when_old(self, local: LocalBlobs, root: Path) -> None:
        tmp = root / "~tmp"
        tmp.mkdir(parents=True)
        (tmp / "old").write_bytes(b"x")
        (tmp / "new").write_bytes(b"x")
        os.utime(tmp / "old", (1, 1))
        local.put("a", b"1")
        assert [path.name for path in tmp.iterdir()] == ["new"]

    def test_a_delete_removes_the_directories_it_empties(self, local: LocalBlobs, root: Path) -> None:
        local.put("s/x/y/0", b"1")
        local.delete("s/x/y/0")
        assert not (root / "s").exists()


@pytest.fixture(autouse=True)
def _no_leftover_threads() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before
