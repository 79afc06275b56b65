"""Which names are passed over, and how the others are spelt."""

import pytest

from aimic.imaging.names import MAX_NAME, is_ignored, safe_name, why_unsafe


@pytest.mark.parametrize(
    ("name", "ignored"),
    [
        ("a/b.jpg", False),
        ("./a/b.jpg", False),
        ("Thumbs.db", True),
        ("x/THUMBS.DB", True),
        ("x/desktop.ini", True),
        (".DS_Store", True),
        ("__MACOSX/x.jpg", True),
        ("a/.cache/x.jpg", True),
        ("thumbs.db/x.jpg", False),
        ("", True),
    ],
)
def test_ignored(name: str, ignored: bool) -> None:
    assert is_ignored(name) is ignored


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("./a//b.jpg", "a/b.jpg"),
        ("Zelle\u0308.jpg", "Zellë.jpg"),
        ("a\x1b[31m.jpg", "a\ufffd[31m.jpg"),
        ("line\nbreak.jpg", "line\ufffdbreak.jpg"),
        ("m\udcfcller.jpg", "müller.jpg"),
        ("half\ud800.jpg", "half?.jpg"),
    ],
)
def test_shown(raw: str, shown: str) -> None:
    assert safe_name(raw) == shown
    assert safe_name(shown) == shown


@pytest.mark.parametrize("raw", ["/a", "\\\\server\\a", "C:\\a", "a/../b", "a\\..\\b", "a\0b", "x" * (MAX_NAME + 1)])
def test_unsafe(raw: str) -> None:
    assert why_unsafe(raw)


@pytest.mark.parametrize("raw", ["a/b.jpg", "a..b.jpg", "..a/b", "..."])
def test_harmless(raw: str) -> None:
    assert why_unsafe(raw) is None
