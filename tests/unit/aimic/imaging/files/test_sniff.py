"""The content decides what a file is, and the refusal says what it is instead."""

import io
import tarfile
import zipfile
from typing import Any

import pytest

from aimic.errors import UnreadableImageError
from aimic.imaging.sniff import MediaType, sniff


def test_each_kind_is_known(picture: Any) -> None:
    assert sniff(picture.data).name.lower() == picture.name.split()[0]


@pytest.mark.parametrize("kind", MediaType)
def test_each_media_type_has_an_extension(kind: MediaType) -> None:
    assert kind.extension.startswith(".")
    assert kind.value.startswith("image/")


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.jpg", b"x")
    return file.getvalue()


def _tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"\xff\xd8", "cut off"),
        (b"\x89PNG", "cut off"),
        (b"%PDF-1.7 \xe2\xe3", "PDF"),
        (b"<!DOCTYPE html><html>Not found", "HTML"),
        (b"\xef\xbb\xbf  <html>", "HTML"),
        (b"<?xml version='1.0'?><svg/>", "SVG"),
        (b"<?xml version='1.0'?><annotation/>", "XML"),
        (b"name,label\n1.jpg,neutrophil\n", "text"),
        ("größer\n".encode(), "text"),
        ("name;label".encode("utf-16"), "text"),
        (b"BMW and other cars are described here, in words", "text"),
        (_zip(), "ZIP"),
        (_tar(), "tar"),
        (b"\0\0\0\x20ftypisom\0\0\2\0", "video"),
        (b"\0\0\0\x20ftypheic\0\0\0\0", "HEIC"),
        (b"\0\0\0\x20ftypavif\0\0\0\0", "AVIF"),
        (b"RIFF\0\0\0\0AVI LIST", "AVI"),
        (bytes(128) + b"DICM" + bytes(20), "DICOM"),
        (bytes(4096), "zero bytes"),
        (b"\x00\x01\x02\x03\x80\x90 nothing known \x00\x05", "not an image"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "Thumbs.db"),
        (b"8BPS\0\1", "Photoshop"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    ],
)
def test_the_refusal_names_the_content(data: bytes, word: str) -> None:
    with pytest.raises(UnreadableImageError, match=word):
        sniff(data)
