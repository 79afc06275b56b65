"""A backup of all objects brings back the same bytes."""

import io
from pathlib import Path

import pytest

from aimic.adapters.local_blobs import LocalBlobs
from aimic.errors import InvalidInputError
from aimic.ports.blobs import PIECE
from services.ingest.objects import load, main, save

CONTENT = {"local/aa/0": b"", "local/bb/1": b"x" * (2 * PIECE + 7), "models/c.tar": bytes(range(256))}


def _store(place: Path) -> LocalBlobs:
    return LocalBlobs(place)


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    store = _store(tmp_path / "first")
    for key, data in CONTENT.items():
        store.put(key, data)
    out = io.BytesIO()
    assert save(store, out, io.StringIO()) == len(CONTENT)
    return out.getvalue()


def test_everything_comes_back_into_an_empty_store(tmp_path: Path, archive: bytes) -> None:
    other = _store(tmp_path / "second")

    assert load(other, io.BytesIO(archive), io.StringIO()) == len(CONTENT)

    assert {info.key: other.get(info.key) for info in other.list("")} == CONTENT


def test_an_archive_that_was_cut_off_says_so_and_can_be_given_again(tmp_path: Path, archive: bytes) -> None:
    other = _store(tmp_path / "second")

    with pytest.raises(InvalidInputError, match="no whole tar"):
        load(other, io.BytesIO(archive[: len(archive) // 2]), io.StringIO())
    load(other, io.BytesIO(archive), io.StringIO())

    assert {info.key: other.get(info.key) for info in other.list("")} == CONTENT


def test_a_wrong_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep"]) == 2
    assert "objects save" in capsys.readouterr().err
