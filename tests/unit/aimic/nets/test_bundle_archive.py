"""One file out, the same bundle in; nothing else gets in."""

import io
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from aimic.errors import AimicError, ConflictError, CorruptError, InvalidInputError, TooLargeError
from aimic.nets import bundle_archive
from aimic.nets.bundle import bundle_hash, export, unpack, verify


@pytest.fixture(scope="module")
def exported(bundle_dir: Path) -> bytes:
    stream = io.BytesIO()
    export(bundle_dir, stream)
    return stream.getvalue()


def test_round_trip_keeps_the_hash(bundle_dir: Path, exported: bytes, tmp_path: Path) -> None:
    info = unpack(io.BytesIO(exported), tmp_path / "deep" / "in", bundle_hash(bundle_dir))
    assert info == verify(bundle_dir)
    assert bundle_hash(tmp_path / "deep" / "in") == bundle_hash(bundle_dir)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["in"]


def test_equal_bundles_give_equal_files(bundle_dir: Path, exported: bytes, tmp_path: Path) -> None:
    file = tmp_path / "model.tar"
    unpack(io.BytesIO(exported), tmp_path / "copy")
    export(tmp_path / "copy", file)
    assert file.read_bytes() == exported
    assert unpack(file, tmp_path / "third") == verify(bundle_dir)


def test_member_headers_name_no_clock_and_no_owner(exported: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(exported)) as archive:
        entries = archive.getmembers()
    assert [entry.name for entry in entries] == sorted(entry.name for entry in entries)
    assert {(entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname) for entry in entries} == {(0, 0, 0, "", "")}


def _refused(data: bytes, directory: Path, error: type[AimicError]) -> None:
    with pytest.raises(error):
        unpack(io.BytesIO(data), directory / "target")
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("place", range(0, 20))
def test_damaged_file_leaves_nothing(exported: bytes, tmp_path: Path, place: int) -> None:
    """A flipped bit in a member's bytes; headers and padding carry nothing of the bundle."""
    with tarfile.open(fileobj=io.BytesIO(exported)) as archive:
        entries = archive.getmembers()
    entry = entries[place % len(entries)]
    changed = bytearray(exported)
    changed[entry.offset_data + entry.size * place // 20] ^= 4
    with pytest.raises((CorruptError, InvalidInputError)):
        unpack(io.BytesIO(changed), tmp_path / "target")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"no tar at all" * 100, b"\0" * 20480])
def test_what_is_no_tar_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(AimicError):
        unpack(io.BytesIO(data), tmp_path / "target")
    assert list(tmp_path.iterdir()) == []


def test_cut_file_is_refused(exported: bytes, tmp_path: Path) -> None:
    _refused(exported[: len(exported) // 2], tmp_path, InvalidInputError)


def _tar(*entries: tuple[str, bytes, Callable[[tarfile.TarInfo], None]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data, change in entries:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            change(entry)
            archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def _plain(entry: tarfile.TarInfo) -> None:
    del entry


def _link(entry: tarfile.TarInfo) -> None:
    entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"


def _hard_link(entry: tarfile.TarInfo) -> None:
    entry.type, entry.linkname = tarfile.LNKTYPE, "/etc/passwd"


def _device(entry: tarfile.TarInfo) -> None:
    entry.type = tarfile.CHRTYPE


@pytest.mark.parametrize(
    "name",
    [
        *("../bundle.json", "/tmp/bundle.json", "weights/../bundle.json", "./bundle.json", "weights/a.safetensors"),
        *("weights/00.safetensors", "weights/-1.safetensors", "weights/.safetensors", "weights/٣.safetensors"),
        *("weights/0.pth", "readme", "weights/0.safetensors/x", "bundle.json\n"),
        *("weights/100.safetensors", f"weights/{'1' * 5000}.safetensors"),
    ],
)
def test_strange_names_are_refused(tmp_path: Path, name: str) -> None:
    _refused(_tar((name, b"x", _plain)), tmp_path, InvalidInputError)


@pytest.mark.parametrize("change", [_link, _hard_link, _device])
def test_what_is_no_file_is_refused(tmp_path: Path, change: Callable[[tarfile.TarInfo], None]) -> None:
    _refused(_tar(("bundle.json", b"", change)), tmp_path, InvalidInputError)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_headers_of_any_size_are_not_read_into_memory(tmp_path: Path, kind: bytes) -> None:
    def extended(entry: tarfile.TarInfo) -> None:
        entry.type = kind

    data = _tar(("header", b"12 a=comment\n" * 4_000_000, extended), ("bundle.json", b"x", _plain))
    tracemalloc.start()
    try:
        _refused(data, tmp_path, InvalidInputError)
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()


def test_a_member_twice_is_refused(tmp_path: Path) -> None:
    _refused(_tar(("bundle.json", b"x", _plain), ("bundle.json", b"y", _plain)), tmp_path, CorruptError)


def test_too_many_members_are_refused(tmp_path: Path) -> None:
    entries = [(f"weights/{number}.safetensors", b"", _plain) for number in range(54)]
    _refused(_tar(*entries), tmp_path, TooLargeError)


def test_sizes_are_limited(exported: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_archive, "LARGEST_BUNDLE", 10_000)
    _refused(exported, tmp_path, TooLargeError)
    monkeypatch.undo()
    monkeypatch.setattr(bundle_archive, "LARGEST_MEMBER", 10_000)
    _refused(exported, tmp_path, TooLargeError)


def test_another_bundle_than_expected(exported: bytes, tmp_path: Path) -> None:
    with pytest.raises(CorruptError):
        unpack(io.BytesIO(exported), tmp_path / "target", "0" * 64)
    with pytest.raises(CorruptError):
        unpack(io.BytesIO(exported), tmp_path / ("1" * 64))
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over(exported: bytes, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(ConflictError):
        unpack(io.BytesIO(exported), tmp_path / "there")


def test_a_damaged_bundle_is_not_exported(exported: bytes, tmp_path: Path) -> None:
    unpack(io.BytesIO(exported), tmp_path / "copy")
    (tmp_path / "copy" / "model_card.md").write_text("better than it is")
    with pytest.raises(CorruptError):
        export(tmp_path / "copy", tmp_path / "file.tar")
    assert not (tmp_path / "file.tar").exists()
