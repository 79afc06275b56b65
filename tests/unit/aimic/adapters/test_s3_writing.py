"""Bytes on their way into an S3 store, before the first of them is sent."""

import io
import tempfile
from functools import partial
from typing import cast

import pytest

from aimic.adapters.s3_connection import Connection
from aimic.adapters.s3_parts import PART
from aimic.adapters.s3_writing import put
from aimic.errors import FullError


class Stream(io.BytesIO):
    """Comes once, as from a network."""

    def seekable(self) -> bool:
        return False


def test_a_stream_that_the_temporary_disk_cannot_hold_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", partial(open, "/dev/full", "r+b"))
    with pytest.raises(FullError, match="make room in"):
        put(cast(Connection, None), "a", Stream(bytes(PART + 1)))
