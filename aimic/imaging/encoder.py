"""How a file was encoded, in words. Settings alone can give a class away, so the shortcut test asks for them."""

from PIL import Image

# Annex K.1 of ITU-T T.81: the luminance table that the IJG quality scale multiplies. Only its multiset matters here.
# fmt: off
_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29,
    51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120,
    101, 72, 92, 95, 98, 112, 100, 103, 99,
)
# fmt: on
_SUBSAMPLING = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (1, 2): "4:4:0", (4, 1): "4:1:1"}


def _table_sum(quality: int) -> int:
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return sum(min(255, max(1, (value * scale + 50) // 100)) for value in _LUMINANCE)


_SUMS = {quality: _table_sum(quality) for quality in range(1, 101)}


def jpeg_quality(quantization: dict[int, list[int]]) -> int | None:
    """The IJG quality (1 to 100) whose luminance table is nearest to the file's first table, by its sum."""
    if not quantization:
        return None
    total = sum(quantization[min(quantization)])
    return min(_SUMS, key=lambda quality: (abs(_SUMS[quality] - total), -quality))


def jpeg_encoder(image: Image.Image) -> str:
    """Such as `jpeg q≈92 4:2:0 progressive`, from an opened JPEG."""
    quality = jpeg_quality(getattr(image, "quantization", {}))
    words = ["jpeg", f"q≈{quality}" if quality else "no tables", _jpeg_layers(image)]
    if image.info.get("progressive"):
        words.append("progressive")
    return " ".join(words)


def _jpeg_layers(image: Image.Image) -> str:
    layers = getattr(image, "layer", [])
    if len(layers) == 1:
        return "grey"
    if len(layers) == 4:
        return "cmyk"
    factors = [(layer[1], layer[2]) for layer in layers]
    if not factors or any(factor != (1, 1) for factor in factors[1:]):
        return "unusual sampling"
    return _SUBSAMPLING.get(factors[0], "unusual sampling")


def png_encoder(header: bytes) -> tuple[str, int]:
    """Such as `png 8-bit rgb interlaced`, and the bit depth, from the bytes of a PNG."""
    depth, colour, interlaced = header[24], header[25], header[28]
    kinds = {0: "grey", 2: "rgb", 3: "palette", 4: "grey+alpha", 6: "rgb+alpha"}
    words = f"png {depth}-bit {kinds.get(colour, 'unusual')}"
    return (words + " interlaced" if interlaced else words), depth


def bmp_encoder(header: bytes) -> tuple[str, int]:
    """Such as `bmp 24-bit` or `bmp 8-bit rle`, and the bit depth per sample."""
    if int.from_bytes(header[14:18], "little") < 40:
        bits, packing = int.from_bytes(header[24:26], "little"), 0
    else:
        bits, packing = int.from_bytes(header[28:30], "little"), int.from_bytes(header[30:34], "little")
    return f"bmp {bits}-bit" + (" rle" if packing in (1, 2) else ""), min(bits, 8)


def webp_encoder(data: bytes) -> str:
    """Such as `webp lossy` or `webp lossless animated`, by the chunks of the file."""
    words = ["webp", "lossless" if b"VP8L" in data[12:4096] else "lossy"]
    if data[12:16] == b"VP8X" and data[20] & 2:
        words.append("animated")
    return " ".join(words)
