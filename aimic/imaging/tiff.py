"""The first page of a TIFF (TIFF 6.0, BigTIFF), by tifffile: any usual compression, tiles, planes, 1 to 16 bits."""

import io
import re
from typing import Any

import numpy as np
import tifffile

from aimic.errors import UnreadableImageError
from aimic.imaging.limits import Limits, check_size
from aimic.imaging.lzw import check_lzw
from aimic.imaging.raster import Raster, Samples, scaled, to_8_bit

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _INKS, _YCBCR = 0, 1, 2, 3, 5, 6
_LZW, _JPEG = 5, 7
# None, CCITT, LZW, JPEG, Deflate (both numbers), PackBits, Zstandard. The rarer codecs (such as the lossless JPEG
# of raw photographs) are less hardened: some of them crash on damaged data.
_COMPRESSIONS = {1, 2, 3, 4, _LZW, _JPEG, 8, 32946, 32773, 50000}
_ASSOCIATED, _UNASSOCIATED = 1, 2
_ORIENTATION, _MAX_SAMPLE, _ICC = 274, 281, 34675
_BEST_SIGNIFICANT = re.compile(r'SignificantBits="(\d{1,2})"')
_SAVE_AGAIN = "Please save it again as a TIFF with 8 or 16 bits in grey or RGB."


def read_tiff(data: bytes, limits: Limits) -> Raster:
    """Samples of the first page. 9 to 15 declared bits are scaled to the full range of 16.

    Declared depth: BitsPerSample, or MaxSampleValue or OME's SignificantBits where these name fewer bits
    and no sample contradicts them. Codec errors pass through; UnreadableImageError for what we don't take.
    """
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        check_size(page.imagewidth, page.imagelength, limits)
        if page.is_tiled:
            # A tile is unpacked whole, however little of it lies in the picture.
            check_size(page.tilewidth, page.tilelength, limits)
        _check_samples(page)
        _check_complete(page, len(data))
        if int(page.compression) == _LZW:
            _check_lzw(page, data)
        values = _interleaved(page, page.asarray(maxworkers=1))
        return _raster(page, values)


def _check_samples(page: Any) -> None:
    bits, kind = page.bitspersample, page.sampleformat
    if kind == 3:
        raise UnreadableImageError(
            f"The TIFF holds decimal numbers (float), whose black and white points are not declared. {_SAVE_AGAIN}"
        )
    if kind not in (1, 4) or not isinstance(bits, int) or not 1 <= bits <= 16:
        raise UnreadableImageError(f"The TIFF holds {bits}-bit samples of an unusual kind. {_SAVE_AGAIN}")
    if int(page.compression) not in _COMPRESSIONS or int(page.predictor) not in (1, 2):
        raise UnreadableImageError(f"The TIFF is compressed in a rare way ({_compression(page)}). {_SAVE_AGAIN}")
    if page.imagedepth > 1 or page.samplesperpixel > 8:
        raise UnreadableImageError(f"The TIFF holds a volume or {page.samplesperpixel} channels. {_SAVE_AGAIN}")


def _check_complete(page: Any, size: int) -> None:
    """Every strip or tile lies inside the file; tifffile would fill missing ones with black."""
    offsets, counts = page.dataoffsets, page.databytecounts
    wanted = int(np.prod(page.chunked)) if page.dtype is not None else 0
    whole = len(offsets) == len(counts) and len(offsets) >= (1 if page.is_contiguous else wanted)
    if not whole or any(
        count <= 0 or offset <= 0 or offset + count > size for offset, count in zip(offsets, counts, strict=True)
    ):
        raise UnreadableImageError("The TIFF file is cut off: part of its picture data is missing.")


def _check_lzw(page: Any, data: bytes) -> None:
    for index, (offset, count) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
        check_lzw(data[offset : offset + count], _segment_bytes(page, index))


def _segment_bytes(page: Any, index: int) -> int:
    """Unpacked bytes of one tile, or of one strip (the last of each plane may have fewer rows)."""
    samples = 1 if page.planarconfig == 2 else page.samplesperpixel
    rows, columns = page.tilelength, page.tilewidth
    if not page.is_tiled:
        columns, height = page.imagewidth, page.imagelength
        high = min(page.rowsperstrip, height)
        rows = min(high, height - index % -(-height // high) * high)
    return int(rows) * -(-int(columns) * int(samples) * int(page.bitspersample) // 8)


def _interleaved(page: Any, array: Any) -> Samples:
    """[h, w, c], whatever the planar configuration."""
    values: Samples = np.asarray(array)
    if values.ndim == 2:
        values = values[..., None]
    elif values.ndim == 3 and page.planarconfig == 2 and page.samplesperpixel > 1:
        values = np.moveaxis(values, 0, 2)
    if values.ndim != 3:
        raise UnreadableImageError(f"The TIFF's first page has {values.ndim} dimensions. {_SAVE_AGAIN}")
    return values


def _raster(page: Any, values: Samples) -> Raster:
    depth = _declared_bits(page, values)
    kind, samples = _coloured(page, values, depth)
    words = f"tiff {_compression(page)} {depth}-bit {kind}" + (" tiled" if page.is_tiled else "")
    return Raster(samples, depth, kind, words, _icc(page), _orientation(page), cmyk=kind == "cmyk")


def _coloured(page: Any, values: Samples, depth: int) -> tuple[str, Samples]:
    """The kind of colours, and the samples as grey, RGB or ink with or without alpha."""
    photometric = int(page.photometric)
    if photometric == _PALETTE and page.colormap is not None:
        return "palette", _looked_up(page.colormap, values[..., 0])
    samples = scaled(values, 2**depth - 1)
    if photometric == _WHITE_IS_ZERO:
        samples = np.iinfo(samples.dtype).max - samples
    if photometric == _INKS and page.samplesperpixel >= 4:
        return "cmyk", samples[..., :4]
    if photometric == _YCBCR and int(page.compression) != _JPEG:
        return "rgb", _from_ycbcr(page, samples)
    colours = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _YCBCR: 3}.get(photometric)
    if colours is None or samples.shape[2] < colours:
        raise UnreadableImageError(f"The TIFF's kind of colours ({page.photometric!s}) is not read. {_SAVE_AGAIN}")
    return _with_alpha(page, samples, colours)


def _with_alpha(page: Any, samples: Samples, colours: int) -> tuple[str, Samples]:
    name = "grey" if colours == 1 else "rgb"
    extra = [int(value) for value in page.extrasamples]
    if samples.shape[2] == colours:
        return name, samples
    if colours == 1 and not {_ASSOCIATED, _UNASSOCIATED} & set(extra[:1]):
        raise UnreadableImageError(f"The TIFF has {samples.shape[2]} channels that are no colours. {_SAVE_AGAIN}")
    if extra[:1] == [_UNASSOCIATED]:
        return name + "+alpha", samples[..., : colours + 1]
    if extra[:1] == [_ASSOCIATED]:
        return name + "+alpha", _unmultiplied(samples[..., : colours + 1])
    return name, samples[..., :colours]


def _unmultiplied(samples: Samples) -> Samples:
    """Colours that were multiplied by alpha (TIFF 6.0, section 18), laid on white: c + (full − alpha)."""
    full = int(np.iinfo(samples.dtype).max)
    white = full - samples[..., -1:].astype(np.uint32)
    colour = np.minimum(samples[..., :-1] + white, full).astype(samples.dtype)
    return np.concatenate([colour, np.full_like(samples[..., -1:], full)], axis=2)


def _looked_up(colormap: Any, indices: Samples) -> Samples:
    """Palette colours; 16-bit entries by their high byte, as all readers do, 8-bit ones (old writers) as they are."""
    table = np.asarray(colormap)
    table = (table if table.max() < 256 else table >> 8).astype(np.uint8)
    colours: Samples = np.moveaxis(table, 0, 1)[np.minimum(indices, table.shape[1] - 1)]
    return colours


def _from_ycbcr(page: Any, samples: Samples) -> Samples:
    """ITU-R BT.601 without subsampling, as TIFF 6.0, section 21, has it by default."""
    if tuple(page.subsampling or (1, 1)) != (1, 1) or samples.shape[2] != 3:
        raise UnreadableImageError(f"The TIFF's kind of colours (subsampled YCbCr) is not read. {_SAVE_AGAIN}")
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(to_8_bit(samples)), "YCbCr")
    return np.asarray(image.convert("RGB"))


def _declared_bits(page: Any, values: Samples) -> int:
    bits = int(page.bitspersample)
    fewer = [bits]
    value = _number(page, _MAX_SAMPLE)
    # A maximum that is no 2^n − 1 is the picture's own brightest sample, which must not set the scale.
    if value is not None and value & (value + 1) == 0:
        fewer.append(value.bit_length())
    if bits == 16 and (match := _BEST_SIGNIFICANT.search(page.description or "")):
        fewer.append(int(match[1]))
    declared = min(fewer)
    if bits <= 8 or declared <= 8 or int(values.max()) > 2**declared - 1:
        return bits
    return declared


def _number(page: Any, code: int) -> int | None:
    tag = page.tags.get(code)
    value = tag.value if tag is not None else None
    if isinstance(value, tuple):
        value = value[0] if value else None
    return int(value) if isinstance(value, int) else None


def _orientation(page: Any) -> int:
    value = _number(page, _ORIENTATION)
    return value if value is not None and 1 <= value <= 8 else 1


def _icc(page: Any) -> bytes | None:
    tag = page.tags.get(_ICC)
    value = tag.value if tag is not None else None
    return bytes(value) if isinstance(value, bytes | tuple) and value else None


def _compression(page: Any) -> str:
    return str(getattr(page.compression, "name", page.compression)).lower()
