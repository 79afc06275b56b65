"""A gzip file is unpacked forwards, in bounded memory, and its damage is told."""

import gzip
import io
import tracemalloc

import pytest

from aimic.errors import InvalidInputError
from aimic.imaging.bounded import MAX_READ, Bounded, Gunzip


def _ignore(unpacked: int) -> None:
    """No meter."""


def test_several_members_and_padding_are_one_file() -> None:
    data = gzip.compress(b"first ") + gzip.compress(b"second") + bytes(100)
    assert Gunzip(io.BytesIO(data), _ignore).read(1000) == b"first second"


def test_seeking_goes_forwards_only() -> None:
    file = Gunzip(io.BytesIO(gzip.compress(bytes(range(200)))), _ignore)
    assert file.seek(50) == 50
    assert file.read(2) == b"\x32\x33"
    assert file.tell() == 52
    with pytest.raises(RuntimeError, match="before the next one"):
        file.seek(0)


@pytest.mark.parametrize("cut", [5, 15, 40])
def test_damage_and_cuts_are_told(cut: int) -> None:
    data = gzip.compress(b"".join(str(number).encode() for number in range(1000)))
    with pytest.raises(InvalidInputError, match="damaged or cut off"):
        Gunzip(io.BytesIO(data[:-cut]), _ignore).read(10_000)
    with pytest.raises(InvalidInputError, match="damaged or cut off"):
        Gunzip(io.BytesIO(data[:-cut] + b"\xff" * cut), _ignore).read(10_000)


def test_a_bomb_is_seen_while_it_unpacks() -> None:
    packed = gzip.compress(bytes(50_000_000))
    seen: list[int] = []

    def meter(unpacked: int) -> None:
        seen.append(unpacked)
        if unpacked > 5_000_000:
            raise InvalidInputError("bomb")

    tracemalloc.start()
    with pytest.raises(InvalidInputError, match="bomb"):
        Gunzip(io.BytesIO(packed), meter).seek(50_000_000)
    assert tracemalloc.get_traced_memory()[1] < 12_000_000
    tracemalloc.stop()
    assert seen[-1] < 7_000_000


class _Huge(io.BytesIO):
    """A file that is said to have gigabytes."""

    def tell(self) -> int:
        return super().tell() or 4 * MAX_READ

    def seek(self, offset: int, whence: int = 0) -> int:
        return 4 * MAX_READ if whence == io.SEEK_END else super().seek(offset, whence)


def test_no_single_read_is_huge() -> None:
    file = Bounded(_Huge(bytes(100)))
    file.seek(1)
    assert file.read(10) == bytes(10)
    with pytest.raises(ValueError, match="too large"):
        file.read(MAX_READ + 1)
