"""Pictures of every kind that the import takes, made on the spot, each with words planted in its metadata."""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms

CANARY = "CANARY Mustermann 1954"
HEIGHT, WIDTH = 13, 22
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """One file, and the pixels that decoding must give (None: the codec is lossy or a profile is applied)."""

    name: str
    data: bytes
    pixels: Pixels | None = None


def rgb() -> Pixels:
    """A smooth picture with no symmetry, so that any wrong turn shows."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([x * 11, y * 18, 255 - (x + y) * 7], axis=-1).astype(np.uint8)


def grey() -> Pixels:
    """One channel of `rgb`, with a mark in a corner."""
    values = rgb()[..., 0].copy()
    values[:3, :5] = 200
    return values


def grey_16() -> NDArray[np.uint16]:
    """Values over a part of the range only, so that scaling by the picture's own range would show."""
    return (grey().astype(np.uint16) * 100 + 777).astype(np.uint16)


def rgb_16() -> NDArray[np.uint16]:
    """16-bit colours whose low bytes matter."""
    return (rgb().astype(np.uint16) * 200 + np.uint16(129)).astype(np.uint16)


def as_rgb(values: NDArray[Any]) -> Pixels:
    """Grey [h, w] as uint8 [h, w, 3]."""
    return np.repeat(values[..., None].astype(np.uint8), 3, axis=2)


def from_16(values: NDArray[np.uint16]) -> Pixels:
    """The 8-bit values that declared 16-bit depth means, by plain arithmetic."""
    return np.floor(values / 65535 * 255 + 0.5).astype(np.uint8)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of an image saved by Pillow."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif(orientation: int = 1) -> bytes:
    """EXIF with words in several fields."""
    block = Image.Exif()
    block[0x0112] = orientation
    for tag in (0x010E, 0x013B, 0x8298, 0x0131):
        block[tag] = CANARY
    return block.tobytes()


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


def chunk(kind: bytes, body: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_16(values: NDArray[np.uint16]) -> bytes:
    """A 16-bit PNG, which Pillow can't write in RGB."""
    return bytes(imagecodecs.png_encode(values))


def with_chunks(data: bytes, *chunks: bytes) -> bytes:
    """A PNG with more chunks after its header."""
    return data[:33] + b"".join(chunks) + data[33:]


def words_of_png() -> bytes:
    """Every ancillary chunk in which words can stand."""
    word = CANARY.encode()
    text = chunk(b"tEXt", b"Comment\0" + word) + chunk(b"iTXt", b"Author\0\0\0\0\0" + word)
    text += chunk(b"zTXt", b"Title\0\0" + zlib.compress(word)) + chunk(
        b"tIME", struct.pack(">H5B", 2020, 1, 2, 3, 4, 5)
    )
    return (
        text
        + chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1))
        + chunk(b"prVt", word)
        + chunk(b"gAMA", b"\0\0\xb1\x8f")
    )


def with_segments(data: bytes) -> bytes:
    """A JPEG with words in application segments, comments and after its end."""
    word = CANARY.encode()
    more = b"".join(
        struct.pack(">BBH", 0xFF, marker, len(word) + 12) + b"Ident\0\0\0\0\0" + word
        for marker in (*range(0xE1, 0xF0), 0xFE)
    )
    return data[:2] + more + data[2:] + word


def jpegs() -> dict[str, Picture]:
    """JPEG in its kinds."""
    image, info = Image.fromarray(rgb()), {"exif": exif(), "comment": CANARY}
    made = {
        "rgb": saved(image, "jpeg", quality=80, **info),
        "progressive 4:2:2": saved(image, "jpeg", progressive=True, subsampling=1, **info),
        "grey": saved(image.convert("L"), "jpeg", **info),
        "cmyk": saved(image.convert("CMYK"), "jpeg", **info),
        "srgb profile": saved(image, "jpeg", icc_profile=srgb_profile(), **info),
        "wide profile": saved(image, "jpeg", icc_profile=wide_profile(), **info),
        "wide profile, turned": saved(image, "jpeg", icc_profile=wide_profile(), exif=exif(6)),
        "grey profile": saved(image.convert("L"), "jpeg", icc_profile=grey_profile(), **info),
        "ink profile": saved(image.convert("CMYK"), "jpeg", icc_profile=ink_profile(), **info),
        "broken profile": saved(image, "jpeg", icc_profile=wide_profile()[:150] + CANARY.encode(), **info),
        "profile of other channels": saved(image.convert("L"), "jpeg", icc_profile=wide_profile(), **info),
        "restart markers": saved(image, "jpeg", restart_marker_blocks=1, **info),
        "all segments": with_segments(saved(image, "jpeg")),
    }
    made |= {f"orientation {turn}": saved(image, "jpeg", exif=exif(turn)) for turn in range(2, 9)}
    return {f"jpeg {name}": Picture(f"jpeg {name}", data) for name, data in made.items()}


def pngs() -> dict[str, Picture]:
    """PNG in its kinds, with what decoding must give."""
    image, words, see = Image.fromarray(rgb()), words_of_png(), np.linspace(0, 255, WIDTH).astype(np.uint8)
    alpha = np.broadcast_to(see, (HEIGHT, WIDTH))
    rgba = np.dstack([rgb(), alpha])
    white = np.round((rgb() * (alpha / 255)[..., None]) + (255 - alpha.astype(float))[..., None]).astype(np.uint8)
    palette = image.quantize(16)
    bits = image.convert("1")
    made: dict[str, tuple[bytes, Pixels | None]] = {
        "rgb": (saved(image, "png"), rgb()),
        "grey": (saved(Image.fromarray(grey()), "png"), as_rgb(grey())),
        "1-bit": (saved(bits, "png"), np.asarray(bits.convert("RGB"))),
        "palette": (saved(palette, "png"), np.asarray(palette.convert("RGB"))),
        "palette, one clear": (saved(palette, "png", transparency=3), None),
        "palette, half clear": (saved(palette, "png", transparency=bytes(range(0, 256, 16))), None),
        "rgb, one clear": (saved(image, "png", transparency=(0, 0, 255)), None),
        "grey, one clear": (saved(Image.fromarray(grey()), "png", transparency=200), None),
        "rgba": (saved(Image.fromarray(rgba), "png"), white),
        "grey+alpha": (saved(Image.fromarray(rgba).convert("LA"), "png"), None),
        "16-bit grey": (png_16(grey_16()), as_rgb(from_16(grey_16()))),
        "16-bit rgb": (png_16(rgb_16()), from_16(rgb_16())),
        "16-bit rgba": (png_16(np.dstack([rgb_16(), alpha.astype(np.uint16) * 257])), None),
        "16-bit grey+alpha, profile": (
            with_chunks(png_16(np.dstack([grey_16(), alpha.astype(np.uint16) * 257])), _iccp(grey_profile())),
            None,
        ),
        "grey, one clear, profile": (
            saved(Image.fromarray(grey()), "png", transparency=200, icc_profile=grey_profile()),
            None,
        ),
        "1-bit, one clear": (saved(bits, "png", transparency=0), np.full((HEIGHT, WIDTH, 3), 255, np.uint8)),
        "16-bit clear": (with_chunks(png_16(grey_16()), chunk(b"tRNS", b"\x03\x09")), None),
        "16-bit wide profile": (with_chunks(png_16(rgb_16()), _iccp(wide_profile())), None),
        "16-bit turned": (with_chunks(png_16(rgb_16()), chunk(b"eXIf", exif(6)[6:])), None),
        "srgb profile": (saved(image, "png", icc_profile=srgb_profile()), rgb()),
        "wide profile": (saved(image, "png", icc_profile=wide_profile()), None),
        "wide profile, rgba": (saved(Image.fromarray(rgba), "png", icc_profile=wide_profile()), None),
        "wide profile, palette": (saved(palette, "png", icc_profile=wide_profile()), None),
        "grey profile": (saved(image.convert("L"), "png", icc_profile=grey_profile()), None),
        "turned": (saved(image, "png", exif=exif(8)), np.rot90(rgb())),
        "animated": (saved(image, "png", save_all=True, append_images=[image.rotate(180)]), rgb()),
    }
    return {f"png {name}": Picture(f"png {name}", with_chunks(data, words), out) for name, (data, out) in made.items()}


def _iccp(profile: bytes) -> bytes:
    return chunk(b"iCCP", b"icc\0\0" + zlib.compress(profile))


def bmps() -> dict[str, Picture]:
    """BMP in its kinds; one has words between header and rows and behind them."""
    image = Image.fromarray(rgb())
    plain, word = saved(image, "bmp"), CANARY.encode()
    gap = plain[:6] + b"CANA" + struct.pack("<I", 54 + len(word)) + plain[14:54] + word + plain[54:] + word
    rows = Image.fromarray(rgb()[::-1].copy())
    upside = bytearray(saved(rows, "bmp"))
    upside[22:26] = struct.pack("<i", -HEIGHT)
    alpha = Image.fromarray(np.dstack([rgb(), grey()]))
    made: dict[str, tuple[bytes, Pixels | None]] = {
        "24-bit": (plain, rgb()),
        "with gaps": (gap, rgb()),
        "top down": (bytes(upside), rgb()),
        "grey": (saved(Image.fromarray(grey()), "bmp"), as_rgb(grey())),
        "1-bit": (saved(image.convert("1"), "bmp"), np.asarray(image.convert("1").convert("RGB"))),
        "palette": (saved(image.quantize(16), "bmp"), np.asarray(image.quantize(16).convert("RGB"))),
        "32-bit": (saved(alpha, "bmp"), None),
        "rle": (_rle_bmp(), as_rgb(np.repeat(np.arange(HEIGHT, dtype=np.uint8)[:, None] * 9, WIDTH, axis=1))),
        "old header": (_old_bmp(plain), rgb()),
    }
    return {f"bmp {name}": Picture(f"bmp {name}", data, out) for name, (data, out) in made.items()}


def _rle_bmp() -> bytes:
    """Rows of one colour each, run-length encoded, bottom row first."""
    rows = b"".join(bytes((WIDTH, row * 9, 0, 0)) for row in reversed(range(HEIGHT))) + b"\0\1"
    palette = b"".join(bytes((value, value, value, 0)) for value in range(256))
    header = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 8, 1, len(rows), 0, 0, 256, 0)
    return struct.pack("<2sIII", b"BM", 54 + 1024 + len(rows), 0, 54 + 1024) + header + palette + rows


def _old_bmp(plain: bytes) -> bytes:
    """The same rows under OS/2's 12-byte header."""
    start = struct.pack("<2sIII", b"BM", len(plain) - 28, 0, 26)
    return start + struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, 24) + plain[54:]


def tiff(array: NDArray[Any], description: str = CANARY, **options: Any) -> bytes:
    """A TIFF by tifffile, with words in its description."""
    file = io.BytesIO()
    tifffile.imwrite(file, array, description=description, metadata=None, **options)
    return file.getvalue()


def tiffs() -> dict[str, Picture]:
    """TIFF in its kinds, with what decoding must give."""
    colour: dict[str, Any] = {"photometric": "rgb"}
    twelve = (grey().astype(np.uint16) * 10 + 7).astype(np.uint16)
    from_12 = as_rgb(np.floor(np.floor(twelve / 4095 * 65535 + 0.5) / 65535 * 255 + 0.5))
    table = np.stack([np.arange(256) * 257] * 3).astype(np.uint16)
    table[1] = table[1][::-1]
    looked = (table >> 8).astype(np.uint8).T[grey()]
    half = np.full_like(grey(), 128)
    over = np.round(rgb() * (128 / 255) + 127).astype(np.uint8)
    ome = f'<OME SignificantBits="12">{CANARY}</OME>'
    made: dict[str, tuple[bytes, Pixels | None]] = {
        "8-bit grey": (tiff(grey(), photometric="minisblack"), as_rgb(grey())),
        "white is zero": (tiff(grey(), photometric="miniswhite"), as_rgb(255 - grey())),
        "1-bit": (tiff(grey() > 100, photometric="minisblack"), as_rgb((grey() > 100) * 255)),
        "4-bit": (tiff(grey() >> 4, photometric="minisblack", bitspersample=4), as_rgb((grey() >> 4) * 17)),
        "16-bit grey": (tiff(grey_16(), photometric="minisblack"), as_rgb(from_16(grey_16()))),
        "16-bit big-endian": (tiff(grey_16(), photometric="minisblack", byteorder=">"), as_rgb(from_16(grey_16()))),
        "12 bits packed": (tiff(twelve, photometric="minisblack", bitspersample=12), from_12),
        "12 of 16, by maximum": (tiff(twelve, photometric="minisblack", extratags=[(281, 3, 1, 4095, True)]), from_12),
        "12 of 16, by OME": (tiff(twelve, ome, photometric="minisblack"), from_12),
        "own maximum": (
            tiff(grey_16(), photometric="minisblack", extratags=[(281, 3, 1, int(grey_16().max()), True)]),
            as_rgb(from_16(grey_16())),
        ),
        "8-bit rgb": (tiff(rgb(), **colour), rgb()),
        "16-bit rgb": (tiff(rgb_16(), **colour), from_16(rgb_16())),
        "16-bit rgb lzw": (tiff(rgb_16(), compression="lzw", predictor=True, **colour), from_16(rgb_16())),
        "16-bit rgb deflate": (tiff(rgb_16(), compression="zlib", rowsperstrip=4, **colour), from_16(rgb_16())),
        "planar": (tiff(np.moveaxis(rgb_16(), 2, 0), planarconfig="separate", **colour), from_16(rgb_16())),
        "planar, strips": (
            tiff(np.moveaxis(rgb(), 2, 0), planarconfig="separate", compression="lzw", rowsperstrip=5, **colour),
            rgb(),
        ),
        "tiled": (tiff(rgb(), tile=(16, 16), compression="zlib", **colour), rgb()),
        "big": (tiff(rgb(), bigtiff=True, **colour), rgb()),
        "packbits": (tiff(rgb(), compression="packbits", **colour), rgb()),
        "jpeg inside": (tiff(rgb(), compression="jpeg", **colour), None),
        "ycbcr jpeg inside": (
            tiff(rgb(), compression="jpeg", compressionargs={"outcolorspace": "ycbcr"}, **colour),
            None,
        ),
        "ycbcr": (saved(Image.fromarray(rgb()).convert("YCbCr"), "tiff"), _through_ycbcr()),
        "zstd": (tiff(rgb(), compression="zstd", **colour), rgb()),
        "palette": (tiff(grey(), photometric="palette", colormap=table), looked),
        "rgba": (tiff(np.dstack([rgb(), half]), extrasamples=["unassalpha"], **colour), over),
        "grey+alpha": (
            tiff(
                np.dstack([grey(), half]), photometric="minisblack", extrasamples=["unassalpha"], planarconfig="contig"
            ),
            None,
        ),
        "multiplied alpha": (
            tiff(np.dstack([rgb() // 2, half]), extrasamples=["assocalpha"], **colour),
            rgb() // 2 + 127,
        ),
        "cmyk": (saved(Image.fromarray(rgb()).convert("CMYK"), "tiff"), rgb()),
        "wide profile": (tiff(rgb(), iccprofile=wide_profile(), **colour), None),
        "turned": (tiff(rgb(), extratags=[(274, 3, 1, 6, True)], **colour), np.rot90(rgb(), -1)),
        "two pages": (_two_pages(), rgb()),
        "group 4": (saved(Image.fromarray(grey()).convert("1"), "tiff", compression="group4"), None),
    }
    return {f"tiff {name}": Picture(f"tiff {name}", data, out) for name, (data, out) in made.items()}


def _through_ycbcr() -> Pixels:
    return np.asarray(Image.fromarray(rgb()).convert("YCbCr").convert("RGB"))


def _two_pages() -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(rgb(), photometric="rgb", description=CANARY, metadata=None)
        writer.write(grey(), photometric="minisblack", metadata=None)
    return file.getvalue()


def others() -> dict[str, Picture]:
    """WebP and GIF in their kinds."""
    image, word = Image.fromarray(rgb()), {"exif": exif(), "xmp": CANARY.encode()}
    clear = Image.fromarray(np.dstack([rgb(), grey()]))
    more = {"save_all": True, "append_images": [image.rotate(180)], "duration": 50}
    palette = image.quantize(16)
    seen = np.asarray(palette.convert("RGB"))
    made: dict[str, tuple[bytes, Pixels | None]] = {
        "webp lossy": (saved(image, "webp", **word), None),
        "webp lossless": (saved(image, "webp", lossless=True, **word), rgb()),
        "webp plain": (saved(image, "webp", lossless=True), rgb()),
        "webp alpha": (saved(clear, "webp", lossless=True, exact=True, **word), None),
        "webp animated": (saved(image, "webp", lossless=True, **more), rgb()),
        "webp wide profile": (saved(image, "webp", icc_profile=wide_profile(), lossless=True, **word), None),
        "webp turned": (saved(image, "webp", lossless=True, exif=exif(3)), np.rot90(rgb(), 2)),
        "gif": (saved(palette, "gif", comment=CANARY.encode()), seen),
        "gif interlaced": (saved(palette, "gif", interlace=True, comment=CANARY.encode()), seen),
        "gif animated": (saved(palette, "gif", comment=CANARY.encode(), **more), seen),
        "gif one clear": (saved(palette, "gif", transparency=3, comment=CANARY.encode()), None),
    }
    return {name: Picture(name, data, out) for name, (data, out) in made.items()}


PICTURES = jpegs() | pngs() | bmps() | tiffs() | others()


@pytest.fixture(params=sorted(PICTURES))
def picture(request: pytest.FixtureRequest) -> Picture:
    """Each kind of picture in turn."""
    return PICTURES[request.param]


@pytest.fixture
def pictures() -> dict[str, Picture]:
    """All kinds by name."""
    return PICTURES


@pytest.fixture
def canary() -> bytes:
    """The words planted in metadata."""
    return CANARY.encode()


@pytest.fixture
def make() -> Callable[..., bytes]:
    """Save an image by Pillow: `make(image, "png", …)`."""
    return saved
