"""A check of LZW data in TIFF by libtiff, since the decoder that reads 16-bit RGB crashes on damaged data."""

import io
import struct

from PIL import TiffImagePlugin

_ENTRY = struct.Struct("<HHII")
_LONG = 4


def check_lzw(segment: bytes, size: int) -> None:
    """Have libtiff unpack `size` bytes of one strip or tile; an OSError when it can't.

    The segment is wrapped as a grey TIFF of one row, so that libtiff bounds the output by itself.
    """
    tags = {256: size, 257: 1, 258: 8, 259: 5, 262: 1, 273: 0, 277: 1, 278: 1, 279: len(segment)}
    start = 8 + 2 + _ENTRY.size * len(tags) + 4
    tags[273] = start
    entries = b"".join(_ENTRY.pack(code, _LONG, 1, value) for code, value in tags.items())
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    TiffImagePlugin.TiffImageFile(io.BytesIO(head + segment)).load()
