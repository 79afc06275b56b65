"""Rewriting JPEG, PNG and BMP files so that only what the picture needs is left. The pixels are not touched."""

import re
import struct
import zlib

JPEG_CUT = "The JPEG file is cut off: its picture data ends too early. Please copy it again from its source."
PNG_CUT = "The PNG file is cut off: its end is missing. Please copy it again from its source."
# In entropy-coded data, FF is followed by 00 (a byte FF) or a restart marker; anything else ends the scan.
_SCAN_END = re.compile(rb"\xff+[\x01-\xcf\xd8-\xfe]", re.DOTALL)
_SOI, _EOI, _SOS, _COM = 0xD8, 0xD9, 0xDA, 0xFE
_JFIF, _ADOBE = b"JFIF\0", b"Adobe"

_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")
PNG_START = b"\x89PNG\r\n\x1a\n"


class OddFileError(ValueError):
    """The parts of a file do not follow one another as the format has it, though a lenient decoder may read it."""


def jpeg(data: bytes, orientation: int = 1) -> bytes:
    """A JPEG (ITU-T T.81) without applications' segments, comments and what follows its end.

    JFIF and Adobe stay, since the meaning of the colours hangs on them; an orientation other than 1 becomes
    the one tag of a minimal EXIF block. OddFileError when the file is not made as the standard has it.
    """
    kept = [b"\xff\xd8"]
    exif = _exif_segment(orientation)
    position = 2
    while True:
        marker, start = _marker(data, position)
        if marker == _EOI:
            break
        end = start + int.from_bytes(data[start : start + 2], "big")
        segment = data[start + 2 : end]
        if end > len(data) or end < start + 2:
            raise OddFileError
        if marker == 0xE0 and segment.startswith(_JFIF):
            kept.append(_segment(0xE0, segment[:12] + b"\0\0"))
        elif marker == 0xEE and segment.startswith(_ADOBE):
            kept.append(_segment(0xEE, segment[:12]))
        elif not 0xE0 <= marker <= 0xEF and marker != _COM:
            # EXIF goes before the first table, where every reader looks for it.
            kept.extend((exif, _segment(marker, segment)))
            exif = b""
        position = end
        if marker == _SOS:
            position = _scan_end(data, end)
            kept.append(data[end:position])
    return b"".join([*kept, b"\xff\xd9"])


def jpeg_is_whole(data: bytes) -> bool:
    """Whether the picture data ends with the end marker; decoders fill what is missing with grey and say nothing."""
    if data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda"):
        return True
    try:
        jpeg(data)
    except OddFileError:
        return False
    return True


def _marker(data: bytes, position: int) -> tuple[int, int]:
    """The marker at `position` (fill bytes skipped) and where its segment starts."""
    start = position
    while data[position : position + 1] == b"\xff":
        position += 1
    if position == start or position >= len(data):
        raise OddFileError
    return data[position], position + 1


def _scan_end(data: bytes, position: int) -> int:
    match = _SCAN_END.search(data, position)
    if match is None:
        raise OddFileError
    return match.start()


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def tiny_exif(orientation: int) -> bytes:
    """An EXIF block (TIFF structure) that holds the orientation tag and nothing else."""
    return b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)


def _exif_segment(orientation: int) -> bytes:
    return b"" if orientation == 1 else _segment(0xE1, b"Exif\0\0" + tiny_exif(orientation))


def png(data: bytes, orientation: int = 1) -> bytes:
    """A PNG (third edition) with its critical chunks and transparency only, the image data in one chunk.

    OddFileError when the file is not made as the standard has it.
    """
    chunks: dict[bytes, list[bytes]] = {kind: [] for kind in _PNG_KEPT}
    for kind, body in _png_chunks(data):
        if kind in chunks:
            chunks[kind].append(body)
        elif not kind[0] & 0x20:
            raise OddFileError
    parts = [PNG_START, _chunk(b"IHDR", b"".join(chunks[b"IHDR"][:1]))]
    parts.extend(_chunk(kind, chunks[kind][0]) for kind in (b"PLTE", b"tRNS") if chunks[kind])
    if orientation != 1:
        parts.append(_chunk(b"eXIf", tiny_exif(orientation)))
    return b"".join([*parts, _chunk(b"IDAT", b"".join(chunks[b"IDAT"])), _chunk(b"IEND", b"")])


def png_is_whole(data: bytes) -> bool:
    """Whether the chunks follow one another up to the end chunk; Pillow does without the last ones."""
    try:
        return bool(_png_chunks(data))
    except OddFileError:
        return False


def png_has_words(data: bytes) -> bool:
    """Whether a PNG has any chunk in which an orientation could stand."""
    return any(kind in (b"eXIf", b"tEXt", b"zTXt", b"iTXt") for kind, _ in _png_chunks(data))


def _png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Chunks up to IEND; OddFileError when one is cut off."""
    chunks: list[tuple[bytes, bytes]] = []
    position = len(PNG_START)
    while True:
        length, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        end = position + 12 + length
        if end > len(data):
            raise OddFileError
        if kind == b"IEND":
            return chunks
        chunks.append((kind, data[position + 8 : end - 4]))
        position = end


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def bmp(data: bytes) -> bytes | None:
    """A BMP with headers, palette and rows only, or None for the rarer kinds, which are better stored as PNG.

    The usual kind: 40-byte header, uncompressed, 1 to 32 bits. Gaps and what follows the rows go.
    """
    if len(data) < 54 or int.from_bytes(data[14:18], "little") != 40:
        return None
    width, height, _, bits, packing, _, _, _, colours, _ = struct.unpack("<iiHHIIiiII", data[18:54])
    if packing != 0 or bits not in (1, 4, 8, 24, 32) or width < 1 or height == 0:
        return None
    palette = 4 * (min(colours, 2**bits) or 2**bits) if bits <= 8 else 0
    start = int.from_bytes(data[10:14], "little")
    row = (width * bits + 31) // 32 * 4
    size = row * abs(height)
    if start < 54 + palette or start + size > len(data):
        return None
    # The 40 bytes are numbers for the decoder; kept as they are, a clean file stays the same to the byte.
    header = struct.pack("<2sIII", b"BM", 54 + palette + size, 0, 54 + palette) + data[14:54]
    return header + data[54 : 54 + palette] + data[start : start + size]
