"""The parent lives, whatever a file does to the child that reads it."""

import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aimic.errors import InvalidInputError, UnavailableError, UnreadableImageError
from aimic.imaging.examine import examine
from aimic.imaging.limits import MIB, Limits
from aimic.imaging.sandbox import Sandbox


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """One child, shared by the tests that don't break it for good."""
    with Sandbox(1) as pool:
        yield pool


def _png_of_zeros(width: int, height: int) -> bytes:
    """Megapixels in a few kilobytes: legal, but large."""
    squeeze = zlib.compressobj(9)
    row = bytes(1 + width * 3)
    body = b"".join(squeeze.compress(row) for _ in range(height)) + squeeze.flush()
    parts = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    )


def test_the_answer_is_that_of_examining_here(sandbox: Sandbox, pictures: dict[str, Any]) -> None:
    for name in ("jpeg rgb", "jpeg wide profile", "tiff 16-bit rgb", "bmp 24-bit", "gif", "webp lossy"):
        assert sandbox.examine(pictures[name].data) == examine(pictures[name].data)


def test_facts_are_those_of_the_received_file(sandbox: Sandbox, pictures: dict[str, Any]) -> None:
    found = sandbox.examine(pictures["tiff 12 of 16, by maximum"].data)
    assert (found.extension, found.bit_depth, found.encoder) == (".png", 12, "tiff none 12-bit grey")
    assert found.source_media_type.name == "TIFF"
    turned = sandbox.examine(pictures["jpeg orientation 6"].data)
    assert (turned.width, turned.height) == (13, 22)


def test_refusals_come_back_as_words(sandbox: Sandbox) -> None:
    for data, word in ((b"", "empty"), (b"%PDF-1.4", "PDF"), (b"\xff\xd8\xff\xe0" + bytes(50), "JPEG")):
        with pytest.raises(UnreadableImageError, match=word):
            sandbox.examine(data)


def test_a_killed_child_is_replaced_and_the_image_not_lost(sandbox: Sandbox, pictures: dict[str, Any]) -> None:
    data = pictures["jpeg rgb"].data
    before = sandbox.examine(data)
    (child,) = _children_of(sandbox)  # others' live on in this process
    os.kill(child, signal.SIGKILL)
    assert sandbox.examine(data) == before
    assert _children_of(sandbox) not in ([], [child])


def test_a_picture_that_takes_too_much_memory_is_refused(pictures: dict[str, Any]) -> None:
    with Sandbox(1, memory=32 * MIB) as tight:
        with pytest.raises(UnreadableImageError, match=r"memory|crash"):
            tight.examine(_png_of_zeros(4000, 4000))
        assert tight.examine(pictures["png rgb"].data).width == 22


def test_a_picture_that_takes_too_long_is_refused(pictures: dict[str, Any]) -> None:
    with Sandbox(1) as hasty:
        usual = hasty.seconds
        hasty.examine(pictures["png rgb"].data)
        (child,) = _children_of(hasty)
        os.kill(child, signal.SIGSTOP)
        start, hasty.seconds = time.monotonic(), 0.3
        with pytest.raises(UnreadableImageError, match="took more than"):
            hasty.examine(pictures["png rgb"].data)
        assert time.monotonic() - start < usual / 2
        hasty.seconds = usual  # what is in order isn't hurried: the machine may be busy
        assert hasty.examine(pictures["png rgb"].data).width == 22


def _children_of(sandbox: Sandbox) -> list[int]:
    return [child._process.pid for child in sandbox._all if child._process is not None]


def test_map_keeps_the_order_and_reads_only_a_little_ahead(pictures: dict[str, Any]) -> None:
    good, drawn = pictures["jpeg rgb"].data, []

    def items() -> Iterator[tuple[int, bytes]]:
        for index in range(60):
            drawn.append(index)
            yield index, b"not an image" if index % 7 == 3 else good

    with Sandbox(2) as pool:
        for place, (index, answer) in enumerate(pool.map(items())):
            assert index == place
            assert isinstance(answer, UnreadableImageError) == (index % 7 == 3)
            assert len(drawn) - index <= 9


def test_what_came_before_a_broken_archive_is_answered(pictures: dict[str, Any]) -> None:
    def items() -> Iterator[tuple[int, bytes]]:
        yield from ((index, pictures["jpeg rgb"].data) for index in range(5))
        raise InvalidInputError("cut off")

    answered: list[int] = []
    with Sandbox(2) as pool, pytest.raises(InvalidInputError, match="cut off"):
        answered.extend(index for index, _ in pool.map(items()))
    assert answered == [0, 1, 2, 3, 4]


def test_a_file_that_crashes_every_child_is_refused(monkeypatch: Any, pictures: dict[str, Any]) -> None:
    code = (
        "import os, sys\nfrom aimic.imaging.frames import READY, read_frame, write_frame\n"
        "write_frame(sys.stdout.buffer, READY)\nread_frame(sys.stdin.buffer)\nos.abort()\n"
    )
    with Sandbox(1) as pool:
        real = pool._all[0]._command
        monkeypatch.setattr(pool._all[0], "_command", [sys.executable, "-c", code])
        with pytest.raises(UnreadableImageError, match="crash"):
            pool.examine(pictures["jpeg rgb"].data)
        monkeypatch.setattr(pool._all[0], "_command", real)
        assert pool.examine(pictures["jpeg rgb"].data).width == 22


def test_a_closed_sandbox_starts_nothing(pictures: dict[str, Any]) -> None:
    pool = Sandbox(1)
    pool.close()
    with pytest.raises(UnavailableError, match="stopped"):
        pool.examine(pictures["jpeg rgb"].data)


def test_closing_ends_what_is_under_way(pictures: dict[str, Any]) -> None:
    pool, said = Sandbox(1), []
    pool.examine(pictures["jpeg rgb"].data)
    (child,) = _children_of(pool)
    os.kill(child, signal.SIGSTOP)

    def ask() -> None:
        try:
            pool.examine(pictures["jpeg rgb"].data)
        except UnavailableError as error:
            said.append(error.message)

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.2)
    pool.close()
    thread.join(10)
    assert said
    assert _children_of(pool) == []


def test_an_answer_is_never_taken_for_another_files(monkeypatch: Any, pictures: dict[str, Any]) -> None:
    from aimic.imaging import children

    with Sandbox(1) as pool:
        pool.examine(pictures["jpeg rgb"].data)
        with monkeypatch.context() as broken:
            broken.setattr(children, "_read_frame", _interrupted)
            with pytest.raises(KeyboardInterrupt):
                pool.examine(pictures["gif"].data)
        assert pool.examine(pictures["webp lossy"].data) == examine(pictures["webp lossy"].data)


def _interrupted(*_: object) -> bytes:
    raise KeyboardInterrupt


def test_an_abandoned_map_ends(pictures: dict[str, Any]) -> None:
    with Sandbox(1) as pool:
        stream = pool.map((index, pictures["jpeg rgb"].data) for index in range(100))
        assert next(stream)[0] == 0
        stream.close()  # type: ignore[attr-defined]
        assert pool.examine(pictures["jpeg rgb"].data).width == 22


def test_threads_share_the_pool(pictures: dict[str, Any]) -> None:
    found: list[int] = []
    with Sandbox(2) as pool:
        threads = [
            threading.Thread(target=lambda: found.append(pool.examine(pictures["jpeg rgb"].data).width))
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [22] * 6


def test_children_end_with_the_pool_and_have_no_secrets(monkeypatch: Any, pictures: dict[str, Any]) -> None:
    monkeypatch.setenv("AIMIC_SECRET", "s3cret")
    pool = Sandbox(1)
    pool.examine(pictures["jpeg rgb"].data)
    (child,) = _children_of(pool)
    assert b"s3cret" not in Path(f"/proc/{child}/environ").read_bytes()
    pool.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_child_ends_when_its_parent_is_killed() -> None:
    code = (
        "import os, time\nfrom aimic.imaging.sandbox import Sandbox\npool = Sandbox(1)\n"
        "try:\n    pool.examine(b'text')\nexcept Exception:\n    pass\n"
        "print(pool._all[0]._process.pid, flush=True)\ntime.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(300):
        if not Path(f"/proc/{child}").exists():
            return
        time.sleep(0.1)
    pytest.fail("the child outlived its parent")


def test_a_child_that_cannot_start_is_our_fault_not_the_files(monkeypatch: Any, pictures: dict[str, Any]) -> None:
    with Sandbox(1) as pool:
        monkeypatch.setattr(pool._all[0], "_command", [sys.executable, "-c", "raise SystemExit(3)"])
        with pytest.raises(UnavailableError, match="can't be started"):
            pool.examine(pictures["jpeg rgb"].data)


def test_large_files_are_refused_without_being_sent(monkeypatch: Any) -> None:
    with Sandbox(1, Limits(max_bytes=1000)) as pool:
        with pytest.raises(UnreadableImageError, match="MiB"):
            pool.examine(np.zeros(2000, np.uint8).tobytes())
        assert _children_of(pool) == []
