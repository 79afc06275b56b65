"""A folder becomes the same tar every time, readable from anywhere."""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from aimic.errors import ConflictError, InvalidInputError, NotFoundError
from aimic.imaging.archives import Entry, walk
from aimic.imaging.pack import pack_folder

LONG = "x" * 150


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with all sorts of names."""
    root = tmp_path / "cells"
    files = {
        "neutrophil/b.jpg": b"b" * 700,
        "neutrophil/a.jpg": b"a" * 512,
        "ähnlich/ü.png": b"u",
        f"{LONG}/{LONG}.tif": b"long",
        "empty.bmp": b"",
        "notes": b"no picture",
        ".DS_Store": b"x",
        "__MACOSX/a.jpg": b"x",
        "neutrophil/Thumbs.db": b"x",
    }
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def test_it_is_a_tar_of_the_files_that_matter(folder: Path) -> None:
    packed = pack_folder(folder)
    with tarfile.open(fileobj=packed.open()) as archive:
        names = archive.getnames()
    assert names == sorted(names)
    assert set(names) == {
        "empty.bmp", "neutrophil/a.jpg", "neutrophil/b.jpg", "notes", f"{LONG}/{LONG}.tif", "ähnlich/ü.png"
    }  # fmt: skip
    assert packed.files == 6
    assert packed.filename == "cells.tar"


def test_walking_gives_back_the_bytes(folder: Path) -> None:
    found = {item.name: item.read() for item in walk(pack_folder(folder).open()) if isinstance(item, Entry)}
    assert found == {name: (folder / name).read_bytes() for name in found}
    assert len(found) == 6


def test_any_part_is_that_of_the_whole(folder: Path) -> None:
    packed = pack_folder(folder)
    whole = packed.read(0, packed.size)
    assert len(whole) == packed.size
    for size in (97, 511, 512, 513, 1000):
        assert b"".join(packed.read(start, size) for start in range(0, packed.size, size)) == whole
    assert packed.read(packed.size, 10) == b""
    assert packed.read(packed.size - 3, 10) == bytes(3)
    stream = packed.open()
    stream.seek(-700, io.SEEK_END)
    assert stream.read(50) == whole[-700:-650]


def test_bytes_do_not_depend_on_time_owner_or_place(folder: Path, tmp_path: Path) -> None:
    first = pack_folder(folder)
    before = first.read(0, first.size)
    os.utime(folder / "notes", (1, 1))
    moved = folder.rename(tmp_path / "elsewhere")
    again = pack_folder(moved)
    assert again.read(0, again.size) == before
    assert again.fingerprint != first.fingerprint


def test_the_fingerprint_is_that_of_names_sizes_and_times(folder: Path) -> None:
    assert pack_folder(folder).fingerprint == pack_folder(folder).fingerprint
    before = pack_folder(folder).fingerprint
    (folder / "notes").rename(folder / "remarks")
    assert pack_folder(folder).fingerprint != before


def test_a_file_that_changes_meanwhile_is_told(folder: Path) -> None:
    packed = pack_folder(folder)
    (folder / "notes").write_bytes(b"changed since")
    with pytest.raises(ConflictError, match="notes changed"):
        packed.read(0, packed.size)
    (folder / "notes").unlink()
    with pytest.raises(NotFoundError, match="notes can't be read"):
        packed.read(0, packed.size)


def test_links_out_of_the_folder_are_left_out(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (folder / "out.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "dangling.jpg").symlink_to(folder / "nothing")
    (folder / "in.jpg").symlink_to(folder / "neutrophil" / "a.jpg")
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe")
    packed = pack_folder(folder)
    assert packed.left_out == ("dangling.jpg", "loop", "out.jpg", "pipe")
    assert packed.files == 7
    assert b"secret" not in packed.read(0, packed.size)


def test_names_that_are_no_utf8_are_packed(folder: Path) -> None:
    (Path(os.fsdecode(os.fsencode(folder) + b"/\xfc.jpg"))).write_bytes(b"old")
    found = [item.name for item in walk(pack_folder(folder).open())]
    assert "ü.jpg" in found


def test_nothing_to_send_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no files to send"):
        pack_folder(tmp_path)
    with pytest.raises(NotFoundError, match="no folder"):
        pack_folder(tmp_path / "missing")
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(InvalidInputError, match="not a folder"):
        pack_folder(tmp_path / "file")


def test_the_client_loads_nothing_heavy() -> None:
    code = "import sys, aimic.imaging.pack; print(sorted({'numpy', 'PIL', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
