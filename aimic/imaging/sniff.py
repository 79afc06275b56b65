"""What a file is, by its content and never by its name."""

from enum import StrEnum

from aimic.errors import UnreadableImageError

READABLE = "JPEG, PNG, BMP, TIFF, WebP or GIF"


class MediaType(StrEnum):
    """The image formats that we read, by their IANA media type."""

    JPEG = "image/jpeg"
    PNG = "image/png"
    BMP = "image/bmp"
    TIFF = "image/tiff"
    WEBP = "image/webp"
    GIF = "image/gif"

    @property
    def extension(self) -> str:
        """The usual file name extension, with its dot."""
        return _EXTENSIONS[self]


_EXTENSIONS = {
    MediaType.JPEG: ".jpg",
    MediaType.PNG: ".png",
    MediaType.BMP: ".bmp",
    MediaType.TIFF: ".tif",
    MediaType.WEBP: ".webp",
    MediaType.GIF: ".gif",
}

_IMAGES = (
    (b"\xff\xd8\xff", MediaType.JPEG),
    (b"\x89PNG\r\n\x1a\n", MediaType.PNG),
    (b"II*\x00", MediaType.TIFF),
    (b"MM\x00*", MediaType.TIFF),
    (b"II+\x00", MediaType.TIFF),
    (b"MM\x00+", MediaType.TIFF),
    (b"GIF87a", MediaType.GIF),
    (b"GIF89a", MediaType.GIF),
)
_OTHERS = (
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or an Office document"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL image"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"8BPS", "a Photoshop document"),
    (b"\xd0\xcf\x11\xe0", "an old Office document or a Thumbs.db file"),
    (b"SIMPLE  =", "a FITS file"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"MATLAB", "a MATLAB file"),
    (b"SQLite format 3", "a database"),
    (b"\x1aE\xdf\xa3", "a video (Matroska or WebM)"),
    (b"\x00\x00\x01\xba", "a video (MPEG)"),
    (b"\x00\x00\x01\xb3", "a video (MPEG)"),
    (b"OggS", "an Ogg sound or video"),
    (b"ID3", "a sound file (MP3)"),
    (b"MZ", "a program"),
    (b"\x7fELF", "a program"),
    (b"\x00\x00\x01\x00", "an icon (ICO)"),
)
_ISO_STILLS = {b"avif": "an AVIF image", b"avis": "an AVIF image"} | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"hevc"), "a HEIC image"
)


def sniff(data: bytes) -> MediaType:
    """The format of `data` by its first bytes. Anything else is an UnreadableImageError that names what it is."""
    if not data:
        raise UnreadableImageError("The file is empty (0 bytes).")
    for magic, media_type in _IMAGES:
        if data.startswith(magic):
            return media_type
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return MediaType.WEBP
    if _is_bmp(data):
        return MediaType.BMP
    if len(data) < 16 and any(magic.startswith(data) for magic, _ in _IMAGES):
        raise UnreadableImageError(f"The file is cut off: it has only {len(data)} bytes.")
    raise UnreadableImageError(_refusal(data))


def _is_bmp(data: bytes) -> bool:
    """`BM` alone could begin a text, so the size of the second header is checked as well."""
    return data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in (12, 16, 40, 52, 56, 64, 108, 124)


def _refusal(data: bytes) -> str:
    kind = _kind(data)
    if kind is None:
        return f"The content is not an image that we know. Please save it as {READABLE}."
    if "image" in kind:
        return f"The content is {kind}, which we can't read. Please save it as {READABLE}."
    if "archive" in kind:
        return f"The content is {kind}, not an image. Archives inside archives are not opened; unpack it first."
    return f"The content is {kind}, not an image."


def _kind(data: bytes) -> str | None:
    for magic, kind in _OTHERS:
        if data.startswith(magic):
            return kind
    for judge in (_iso_media, _riff, _marked_inside, _text):
        if found := judge(data):
            return found
    return "nothing but zero bytes" if not data.strip(b"\0") else None


def _iso_media(data: bytes) -> str | None:
    if data[4:8] not in (b"ftyp", b"moov", b"mdat"):
        return None
    return _ISO_STILLS.get(data[8:12], "a video (MP4 or QuickTime)")


def _riff(data: bytes) -> str | None:
    if data[:4] != b"RIFF":
        return None
    return {b"AVI ": "a video (AVI)", b"WAVE": "a sound file (WAV)"}.get(data[8:12])


def _marked_inside(data: bytes) -> str | None:
    if data[128:132] == b"DICM":
        return "a DICOM image"
    return "a tar archive" if data[257:262] == b"ustar" else None


def _text(data: bytes) -> str | None:
    """Text in UTF-8 or UTF-16; HTML, SVG and XML by name, since a saved error page is often an HTML file."""
    head = data[:4096]
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    text = head.decode(encoding, errors="ignore").lstrip("\ufeff \t\r\n").lower()
    if len(text) < len(head) // 4 or any(ord(letter) < 32 and letter not in "\t\r\n\f\x1b" for letter in text):
        return None
    if text.startswith(("<!doctype html", "<html", "<head", "<body")):
        return "a web page (HTML); perhaps an error page was saved instead of the image"
    if "<svg" in text:
        return "an SVG drawing"
    if text.startswith("<?xml"):
        return "an XML text"
    return "text" if text else None
