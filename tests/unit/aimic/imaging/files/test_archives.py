"""Uploads are walked entry by entry, and nothing in them is trusted."""

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO

import pytest

from aimic.domain.dataset import Refusal
from aimic.errors import InvalidInputError, TooLargeError, UnreadableImageError
from aimic.imaging.archives import ArchiveLimits, Entry, Ignored, count, walk

Files = list[tuple[str, bytes]]
FILES: Files = [("b/2.jpg", b"two" * 500), ("a/1.jpg", b"one"), ("a/empty.jpg", b""), ("ä/ß.png", b"\x89PNG" * 90)]


def _zip(files: Files, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return file.getvalue()


def _tar(files: Files, form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def _tar_gz(files: Files) -> bytes:
    return gzip.compress(_tar(files), 1)


MAKERS = {
    "zip": _zip,
    "stored zip": lambda files: _zip(files, zipfile.ZIP_STORED),
    "tar": _tar,
    "gnu tar": lambda files: _tar(files, tarfile.GNU_FORMAT),
    "tar.gz": _tar_gz,
}


@pytest.fixture(params=sorted(MAKERS))
def archive_of(request: pytest.FixtureRequest) -> Callable[[Files], bytes]:
    """Each way of packing in turn."""
    return MAKERS[request.param]


def _read(data: bytes, name: str = "", limits: ArchiveLimits | None = None) -> list[Any]:
    found: list[Any] = []
    for item in walk(io.BytesIO(data), name, limits or ArchiveLimits()):
        found.append((item.name, item.read()) if isinstance(item, Entry) else item)
    return found


def test_entries_come_in_the_archives_order(archive_of: Callable[[Files], bytes]) -> None:
    assert _read(archive_of(FILES)) == FILES


def test_entries_that_are_not_read_are_passed_over(archive_of: Callable[[Files], bytes]) -> None:
    sizes = [(item.name, item.size) for item in walk(io.BytesIO(archive_of(FILES))) if isinstance(item, Entry)]
    assert sizes == [(name, len(data)) for name, data in FILES]


def test_what_systems_leave_behind_is_ignored(archive_of: Callable[[Files], bytes]) -> None:
    left = ["__MACOSX/a/._1.jpg", "a/Thumbs.db", "a/desktop.ini", ".DS_Store", ".git/x.jpg", "a/.hidden.jpg"]
    found = _read(archive_of([(name, b"x") for name in left] + FILES[:1]))
    assert [type(item) for item in found[:-1]] == [Ignored] * len(left)
    assert found[-1] == FILES[0]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("../../etc/passwd", "unsafe_name"),
        ("a/../../b.jpg", "unsafe_name"),
        ("/etc/x.jpg", "unsafe_name"),
        ("C:/x.jpg", "unsafe_name"),
        ("inner.zip", "nested_archive"),
        ("a/inner.tar.gz", "nested_archive"),
    ],
)
def test_dangerous_entries_are_refused_and_the_rest_goes_on(
    archive_of: Callable[[Files], bytes], name: str, code: str
) -> None:
    first, second = _read(archive_of([(name, b"x"), FILES[0]]))
    assert isinstance(first, Refusal)
    assert first.code == code
    assert second == FILES[0]


def test_too_large_entries_are_refused_unread(archive_of: Callable[[Files], bytes]) -> None:
    found = _read(archive_of(FILES), limits=ArchiveLimits(max_entry_bytes=1000))
    assert isinstance(found[0], Refusal)
    assert found[0].code == "too_large"
    assert found[1:] == FILES[1:]


def test_names_have_one_spelling_and_are_safe_to_show(archive_of: Callable[[Files], bytes]) -> None:
    found = _read(archive_of([("u\u0308ber/1.jpg", b"x"), ("a/gpj.\u202eexe.jpg", b"y"), ("./b//2.jpg", b"z")]))
    assert [name for name, _ in found] == ["über/1.jpg", "a/gpj.\ufffdexe.jpg", "b/2.jpg"]


def test_too_many_entries_end_the_walk(archive_of: Callable[[Files], bytes]) -> None:
    with pytest.raises(TooLargeError, match="more than 3 files"):
        _read(archive_of(FILES), limits=ArchiveLimits(max_entries=3))


def test_names_of_tars_that_are_no_utf8() -> None:
    data = _tar([("a/xx.jpg", b"x")], tarfile.USTAR_FORMAT)
    header = bytearray(data[:512])
    header[2:4] = b"\xfc\xdf"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    assert _read(bytes(header) + data[512:]) == [("a/üß.jpg", b"x")]


def test_names_of_zips_without_the_utf8_flag_and_with_backslashes() -> None:
    data = _zip([("dir_xx.jpg", b"x")]).replace(b"dir_xx.jpg", b"dir\\\xc3\xbc.jpg")
    assert _read(data) == [("dir/ü.jpg", b"x")]


def test_links_are_not_followed() -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            info = tarfile.TarInfo("a/link.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    assert [item.code for item in _read(file.getvalue())] == ["link", "link", "not_a_file", "not_a_file"]
    linked = zipfile.ZipInfo("link.jpg")
    linked.external_attr = 0o120777 << 16
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as zipped:
        zipped.writestr(linked, "/etc/passwd")
    assert [item.code for item in _read(packed.getvalue())] == ["link"]


def test_encrypted_and_unusual_zips_are_refused_file_by_file() -> None:
    data = _zip([("a.jpg", b"x")], zipfile.ZIP_STORED)
    locked = bytearray(data)
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[data.index(mark) + place] |= 1
    assert [item.code for item in _read(bytes(locked))] == ["encrypted"]
    assert [item.code for item in _read(_zip([("a.jpg", b"x")], zipfile.ZIP_BZIP2))] == ["unsupported_compression"]


def test_a_damaged_zip_entry_costs_only_itself() -> None:
    data = bytearray(_zip([("a.jpg", b"first picture"), ("b.jpg", b"second")], zipfile.ZIP_STORED))
    data[data.index(b"first")] ^= 1
    entries = list(walk(io.BytesIO(bytes(data))))
    assert isinstance(entries[0], Entry)
    assert isinstance(entries[1], Entry)
    with pytest.raises(UnreadableImageError, match="damaged inside"):
        entries[0].read()
    assert entries[1].read() == b"second"


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_cut_archive_is_told_and_what_was_read_is_good(archive_of: Callable[[Files], bytes], share: float) -> None:
    many = [(f"a/{number}.jpg", bytes([number]) * 3000 + struct.pack(">I", number * 7919)) for number in range(40)]
    data = archive_of(many)
    got: list[tuple[str, bytes]] = []
    with pytest.raises(InvalidInputError, match="cut off"):
        for item in walk(io.BytesIO(data[: int(len(data) * share)])):
            assert isinstance(item, Entry)
            got.append((item.name, item.read()))
    assert got == many[: len(got)]


def test_a_tar_cut_between_two_entries_is_told() -> None:
    data = _tar([("a.jpg", b"x" * 512), ("b.jpg", b"y" * 512)], tarfile.USTAR_FORMAT)
    with pytest.raises(InvalidInputError, match="cut off"):
        _read(data[:1024])
    scrambled = data[:1024] + b"\xff" * 512 + data[1536:]
    with pytest.raises(InvalidInputError, match="damaged"):
        _read(scrambled)


def test_reading_too_late_is_no_damage() -> None:
    for data in (_zip(FILES), _tar(FILES)):
        entries = [item for item in list(walk(io.BytesIO(data))) if isinstance(item, Entry)]
        assert [(entry.name, entry.read()) for entry in entries] == FILES
    late = [item for item in walk(io.BytesIO(_tar_gz(FILES))) if isinstance(item, Entry)]
    with pytest.raises(RuntimeError, match="before the next one"):
        late[0].read()


def test_bombs_are_refused() -> None:
    limits = ArchiveLimits(max_total_bytes=300_000)
    for data in (_zip([(f"{n}.jpg", bytes(100_000)) for n in range(5)]), _tar_gz([("0.jpg", bytes(1_000_000))])):
        with pytest.raises(TooLargeError, match="unpacks to more"):
            _read(data, limits=limits)


def test_a_header_that_claims_gigabytes_takes_no_memory() -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 8 * 2**30
    blocks = info.tobuf(tarfile.GNU_FORMAT)
    for data in (blocks + bytes(2048), gzip.compress(blocks + bytes(2048))):
        with pytest.raises(InvalidInputError, match="damaged"):
            _read(data)


def test_a_single_image_has_its_file_name(pictures: dict[str, Any]) -> None:
    data = pictures["bmp 24-bit"].data
    assert _read(data, "C:\\cells\\Im001_1.bmp") == [("Im001_1.bmp", data)]
    assert _read(data) == [("image", data)]
    assert count(io.BytesIO(data)) == 1


@pytest.mark.parametrize("head", [b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"BZh9", b"\xfd7zXZ\x00"])
def test_other_archives_are_refused_by_name(head: bytes) -> None:
    with pytest.raises(InvalidInputError, match=r"zip, tar or tar\.gz"):
        _read(head + bytes(100))


def test_gzip_without_tar_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no tar archive in it"):
        _read(gzip.compress(b"name,label\n" * 100))


def test_counts_are_known_where_they_can_be(archive_of: Callable[[Files], bytes]) -> None:
    data = archive_of([*FILES, (".hidden", b"x")])
    assert count(io.BytesIO(data)) in ({None} if data.startswith(b"\x1f\x8b") else {len(FILES)})


def test_empty_archives_have_nothing_in_them() -> None:
    for data in (_zip([]), _tar([]), _tar_gz([])):
        assert _read(data) == []


def test_a_walk_stays_small_and_leaves_the_source_open() -> None:
    source: BinaryIO = io.BytesIO(_tar([(f"{number}.jpg", b"x") for number in range(3000)]))
    assert sum(1 for _ in walk(source)) == 3000
    assert not source.closed
    assert sum(1 for _ in walk(source)) == 3000
