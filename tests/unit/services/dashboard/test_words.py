"""Numbers and errors as a person says them."""

import pytest

from aimic.errors import AimicError, InvalidInputError, UnavailableError
from services.dashboard.views import words


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [
        (0.9342, 1, "93.4 %"),
        (1.0, 0, "100 %"),
        (None, 1, "–"),
        (0.0, 0, "0 %"),
        (0.0004, 0, "<1 %"),
        (0.0001, 1, "<0.1 %"),
    ],
)
def test_percent(share: float | None, digits: int, text: str) -> None:
    assert words.percent(share, digits) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (3, "a few seconds"),
        (33, "about 30 seconds"),
        (58, "about 1 minute"),
        (700, "about 12 minutes"),
        (7300, "about 2 hours"),
    ],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


def test_plural_size_and_lists() -> None:
    assert [words.plural(n, "class", "classes") for n in (1, 2)] == ["1 class", "2 classes"]
    assert words.plural(1204, "image") == "1,204 images"
    assert [words.size(n) for n in (1, 2048, 12_400_000, 3_000_000_000)] == ["1 byte", "2.05 kB", "12.4 MB", "3 GB"]
    assert [words.listed(of) for of in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]


def test_a_server_that_is_away_is_told_without_an_address() -> None:
    said = words.trouble(UnavailableError("AIMIC isn't running at http://127.0.0.1:8000; start it with `aimic up`."))
    assert said.title == "AIMIC's server is away"
    assert "127.0.0.1" not in said.text
    assert said.again


def test_a_refusal_is_told_as_it_is_and_a_fault_names_the_request() -> None:
    assert words.trouble(InvalidInputError("Too few groups.", request_id="r1")) == words.Trouble(
        "This can't be done as asked", "Too few groups.", "", False
    )
    assert words.trouble(AimicError("Oops.", request_id="r1")).reference == "r1"
