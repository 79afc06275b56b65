"""The promise of `aimic.ports.blobs.Blobs`, asked of every adapter."""

import hashlib
import io
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from aimic import wiring
from aimic.errors import InvalidInputError, NotFoundError
from aimic.ports.blobs import Blobs
from aimic.settings import Settings
from services.local.servers.minio import Minio
from services.local.servers.together import fields
from services.trainer import transfer
from tests.contract.moto_store import Moto

Reopen = Callable[[], Blobs]


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    with Moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(params=["local", "moto", pytest.param("minio", marks=pytest.mark.servers)])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Reopen:
    """A way to open the same store, as another process or a restart would."""
    if request.param == "local":
        settings = Settings(home=tmp_path, blobs_url=f"file://{tmp_path}/objects")
    else:
        server: Minio | Moto = request.getfixturevalue(f"{request.param}_server")
        settings = Settings(home=tmp_path, **fields(server.environment(bucket=None)))
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


def test_a_range_of_a_large_object_is_that_range(blobs: Blobs) -> None:
    data = os.urandom(9 << 20)  # in more than one part, where a store has parts
    blobs.put("big", io.BytesIO(data))
    start = (8 << 20) - 5
    assert b"".join(blobs.read("big", start, 10)) == data[start : start + 10]
    assert b"".join(blobs.read("big", start)) == data[start:]


def test_a_file_is_stored_from_where_it_stands(blobs: Blobs) -> None:
    for size in (10, 9 << 20):
        file = io.BytesIO(b"head" + b"x" * size)
        file.seek(4)
        assert blobs.put("rest", file).size == size
        assert blobs.get("rest") == b"x" * size


class _Pipe(io.RawIOBase):
    """Bytes that come once, in small gulps."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        return self._data.read(min(size, 100_000))


def test_a_source_that_cannot_be_read_twice_is_stored(blobs: Blobs) -> None:
    for size in (0, 10, 9 << 20):
        data = os.urandom(size)
        assert blobs.put("pipe", cast("BinaryIO", _Pipe(data))).size == size
        assert b"".join(blobs.read("pipe")) == data


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


def test_a_put_repeated_by_many_at_once_is_one_object(blobs: Blobs, reopen: Reopen) -> None:
    data = os.urandom(9 << 20)
    with ThreadPoolExecutor(3) as pool:
        stores = [blobs, reopen(), reopen()]
        sizes = [info.size for info in pool.map(lambda store: store.put("a/b", io.BytesIO(data)), stores)]
    assert sizes == [len(data)] * 3
    assert blobs.get("a/b") == data
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


def test_list_goes_on_where_a_store_ends_its_page(blobs: Blobs) -> None:
    keys = {f"n/{number:04}" for number in range(1001)}
    with ThreadPoolExecutor(8) as pool:
        assert {info.key for info in pool.map(lambda key: blobs.put(key, b""), keys)} == keys
    assert {info.key for info in blobs.list("n/")} == keys


def test_a_worker_with_nothing_but_addresses_writes_and_reads(blobs: Blobs, tmp_path: Path) -> None:
    sent, got = tmp_path / "sent", tmp_path / "got"
    sent.write_bytes(os.urandom(3 << 20))
    transfer.send(sent, blobs.url_to_put("s/tasks/1/0", 60))
    assert blobs.get("s/tasks/1/0") == sent.read_bytes()
    url = blobs.url_to_get("s/tasks/1/0", 60)
    sha256 = hashlib.sha256(sent.read_bytes()).hexdigest()
    assert transfer.read(url, "it", sha256) == sent.read_bytes()
    assert transfer.fetch(url, got, "it").read_bytes() == sent.read_bytes()
    with pytest.raises(NotFoundError):
        transfer.read(blobs.url_to_get("s/tasks/1/1", 60), "it")


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


@pytest.mark.parametrize("size", [4, 9 << 20])
def test_a_source_that_breaks_leaves_nothing(blobs: Blobs, size: int) -> None:
    blobs.put("kept", b"before")
    for key in ("broken", "kept"):
        with pytest.raises(ValueError, match="went away"):
            blobs.put(key, _Breaks(b"x" * size))
    assert blobs.get("kept") == b"before"
    assert [info.key for info in blobs.list("")] == ["kept"]


def test_ping_is_quiet_when_the_store_is_there(blobs: Blobs) -> None:
    blobs.ping()
    assert list(blobs.list("")) == []


@pytest.fixture(autouse=True)
def _no_leftover_threads(reopen: Reopen) -> Iterator[None]:
    # The store is there by now: its threads are not ours.
    before = threading.active_count()
    yield
    assert threading.active_count() == before
