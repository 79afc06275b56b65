"""What only the store of files has; what it promises as any store is in tests/contract/test_blobs.py."""

import errno
import os
import shutil
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import pytest

from aimic.adapters import local_blobs
from aimic.adapters.local_blobs import LocalBlobs
from aimic.errors import ConflictError, UnavailableError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "ob jects"


@pytest.fixture
def local(root: Path) -> LocalBlobs:
    return LocalBlobs(root)


def test_making_one_opens_nothing(local: LocalBlobs, root: Path) -> None:
    assert not root.exists()


def test_urls_are_paths_in_an_existing_directory(local: LocalBlobs) -> None:
    put = Path(unquote(urlsplit(local.url_to_put("s/tasks/1/0", 60)).path))
    put.write_bytes(b"from the worker")
    assert local.get("s/tasks/1/0") == b"from the worker"
    assert local.url_to_get("s/tasks/1/0", 60) == put.as_uri()


def test_a_full_disk_is_said_in_words_and_leaves_nothing(
    local: LocalBlobs, root: Path, monkeypatch: pytest.MonkeyPatch
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


def test_ping_tells_of_a_disk_nearly_full(local: LocalBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free=local_blobs.MIN_FREE - 1))
    with pytest.raises(UnavailableError, match="full"):
        local.ping()


def test_ping_tells_of_a_place_that_is_no_directory(local: LocalBlobs, root: Path) -> None:
    root.write_text("a file")
    with pytest.raises((UnavailableError, ConflictError)):
        local.ping()


def test_an_object_is_no_directory(local: LocalBlobs) -> None:
    local.put("a", b"1")
    with pytest.raises(ConflictError):
        local.put("a/b", b"2")
    assert local.get("a") == b"1"


def test_what_a_killed_process_left_is_swept_when_old(local: LocalBlobs, root: Path) -> None:
    tmp = root / "~tmp"
    tmp.mkdir(parents=True)
    (tmp / "old").write_bytes(b"x")
    (tmp / "new").write_bytes(b"x")
    os.utime(tmp / "old", (1, 1))
    local.put("a", b"1")
    assert [path.name for path in tmp.iterdir()] == ["new"]


def test_a_delete_removes_the_directories_it_empties(local: LocalBlobs, root: Path) -> None:
    local.put("s/x/y/0", b"1")
    local.delete("s/x/y/0")
    assert not (root / "s").exists()
