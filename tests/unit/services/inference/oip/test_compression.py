"""Packed bodies: as clients send them, and as somebody does who means harm."""

import gzip
import tracemalloc
import zlib

import pytest

from aimic.errors import InvalidInputError, TooLargeError
from services.inference.oip.compression import accepted, packed, unpacked

BODY = bytes(range(256)) * 2000
BARE = zlib.compressobj(wbits=-zlib.MAX_WBITS)
PACKED = {
    "gzip": ("gzip", gzip.compress(BODY)),
    "gzip, in our words": ("gzip", packed(BODY, "gzip")),
    "deflate": ("deflate", zlib.compress(BODY)),
    "deflate, in our words": ("deflate", packed(BODY, "deflate")),
    "deflate, bare": ("deflate", BARE.compress(BODY) + BARE.flush()),
    "hardly packed": ("gzip", gzip.compress(BODY, 0)),
}


@pytest.mark.parametrize("case", PACKED)
def test_a_packed_body_is_unpacked(case: str) -> None:
    encoding, body = PACKED[case]
    assert unpacked(body, encoding, len(BODY)) == BODY


@pytest.mark.parametrize("case", PACKED)
def test_a_body_one_byte_too_long_is_refused(case: str) -> None:
    encoding, body = PACKED[case]
    with pytest.raises(TooLargeError):
        unpacked(body, encoding, len(BODY) - 1)


def test_a_bomb_takes_no_more_memory_than_the_limit_allows() -> None:
    bomb = gzip.compress(bytes(300_000_000), 9)
    assert len(bomb) < 400_000
    tracemalloc.start()
    with pytest.raises(TooLargeError):
        unpacked(bomb, "gzip", 1_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("damage", ["empty", "cut", "followed", "garbage", "twice", "far behind"])
def test_what_is_no_whole_stream_is_refused(encoding: str, damage: str) -> None:
    whole = packed(BODY, encoding)
    body = {
        "empty": b"",
        "cut": whole[:-5],
        "followed": whole + b"more",
        "garbage": b"\xff\xff" + whole,
        "twice": whole + whole,
        "far behind": whole + bytes(200_000),
    }[damage]
    with pytest.raises(InvalidInputError):
        unpacked(body, encoding, 10 * len(BODY))


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", ""])
def test_another_encoding_is_refused(encoding: str) -> None:
    with pytest.raises(InvalidInputError, match="encoding"):
        unpacked(BODY, encoding, len(BODY))


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        ("", None),
        ("gzip", "gzip"),
        ("Deflate", "deflate"),
        ("br;q=1.0, deflate;q=0.5, gzip ; q=0.1", "gzip"),
        ("gzip;q=0, deflate", "deflate"),
        ("gzip; q=0.000", None),
        ("identity, br", None),
    ],
)
def test_the_answer_is_packed_as_the_caller_accepts(header: str, encoding: str | None) -> None:
    assert accepted(header) == encoding
