"""Objects by address; here, files."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from aimic.errors import CorruptError, NotFoundError
from services.trainer import transfer


def test_files_are_written_whole_and_read_back(tmp_path: Path) -> None:
    (tmp_path / "a b").write_bytes(b"data")
    target = tmp_path / "store" / "key%20"
    transfer.send(tmp_path / "a b", target.as_uri())
    assert transfer.read(target.as_uri(), "it", hashlib.sha256(b"data").hexdigest()) == b"data"
    assert transfer.fetch(target.as_uri(), tmp_path / "x" / "copy", "it").read_bytes() == b"data"
    assert [path.name for path in target.parent.iterdir()] == ["key%20"]


def test_a_name_that_was_told_outlives_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every directory with a new entry is flushed, after the entry is there."""
    flushed: dict[Path, list[str]] = {}
    real = os.fsync

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_dir():
            flushed[path] = [entry.name for entry in path.iterdir()]
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    (tmp_path / "a").write_bytes(b"data")
    transfer.send(tmp_path / "a", (tmp_path / "task" / "1" / "key").as_uri())
    assert flushed[tmp_path / "task" / "1"] == ["key"]
    assert flushed[tmp_path / "task"] == ["1"]
    assert "task" in flushed[tmp_path]


def test_bytes_that_are_not_those_named_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"data")
    with pytest.raises(CorruptError):
        transfer.read((tmp_path / "a").as_uri(), "it", "0" * 64)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    for get in (lambda url: transfer.read(url, "it"), lambda url: transfer.fetch(url, tmp_path / "b", "it")):
        with pytest.raises(NotFoundError):
            get((tmp_path / "none").as_uri())


def test_a_copy_appears_only_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"data")

    def half(_: Path, target: Path) -> None:
        target.write_bytes(b"da")
        raise OSError("disk")

    monkeypatch.setattr(shutil, "copyfile", half)
    with pytest.raises(OSError, match="disk"):
        transfer.fetch((tmp_path / "a").as_uri(), tmp_path / "x" / "copy", "it")
    assert list((tmp_path / "x").iterdir()) == []
