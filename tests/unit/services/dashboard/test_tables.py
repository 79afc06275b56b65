"""No cell of a table that we hand out is run by a spreadsheet."""

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from services.dashboard.views.tables import csv_bytes


def _read(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))


@given(st.lists(st.text(), min_size=1, max_size=3))
def test_no_text_begins_like_a_formula(cells: list[str]) -> None:
    row = _read(csv_bytes(["a"] * len(cells), [cells]))[1:]
    for read, cell in zip(row[0] if row else [""], cells, strict=False):
        assert not read.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
        assert read in {cell, f"'{cell}"}


def test_numbers_stay_numbers_and_nothing_stays_nothing() -> None:
    assert _read(csv_bytes(["file", "p"], [("=1+1.png", -0.5), ('é,"x', None)])) == [
        ["file", "p"],
        ["'=1+1.png", "-0.5"],
        ['é,"x', ""],
    ]


def test_a_spreadsheet_sees_that_it_is_utf8() -> None:
    assert csv_bytes(["é"], []).startswith(b"\xef\xbb\xbf")
