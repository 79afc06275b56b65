"""Colour profiles made from their parts (ICC.1:2001-04)."""

import struct

from PIL import ImageCms

from tests.unit.aimic.imaging.files.drawing import CANARY


def srgb_profile() -> bytes:
    """Little CMS's own sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _profile(space: bytes, tags: dict[bytes, bytes], connection: bytes = b"XYZ ") -> bytes:
    """An ICC version 2 profile (ICC.1:2001-04) from its tags."""
    offset, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        padded = content + bytes(-len(content) % 4)
        table += name + struct.pack(">II", offset + len(body), len(content))
        body += padded
    kind = b"mntr" if space != b"CMYK" else b"prtr"
    size = offset + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, kind, space, connection)
    head += struct.pack(">6H4s", 2020, 1, 1, 0, 0, 0, b"acsp")
    head = head.ljust(68, b"\0") + struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _xyz(x: float, y: float, z: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in (x, y, z)))


def _words() -> dict[bytes, bytes]:
    text = CANARY.encode() + b"\0"
    described = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
    return {b"desc": described, b"cprt": b"text\0\0\0\0" + text, b"wtpt": _xyz(0.9642, 1.0, 0.8249)}


def wide_profile() -> bytes:
    """Adobe RGB's primaries and gamma 2.2."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, 563)
    colours = {b"rXYZ": _xyz(0.6097, 0.3111, 0.0195), b"gXYZ": _xyz(0.2053, 0.6257, 0.0609)}
    colours[b"bXYZ"] = _xyz(0.1492, 0.0632, 0.7446)
    return _profile(b"RGB ", _words() | colours | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


def grey_profile(gamma: float = 1.0) -> bytes:
    """Grey with a gamma."""
    return _profile(b"GRAY", _words() | {b"kTRC": b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))})


def ink_profile() -> bytes:
    """CMYK to Lab by a table of the 16 corner colours (lut8Type)."""
    ramp = bytes(range(256))
    corners = b""
    for corner in range(16):
        c, m, y, k = corner >> 3 & 1, corner >> 2 & 1, corner >> 1 & 1, corner & 1
        light = 255 - 60 * (c + m) - 20 * y - 115 * k
        corners += bytes((max(0, light), 128 + 50 * (m - c) * (1 - k), 128 + 60 * (y - c) * (1 - k)))
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + matrix + ramp * 4 + corners + ramp * 3
    return _profile(b"CMYK", _words() | {b"A2B0": table, b"A2B1": table}, b"Lab ")
