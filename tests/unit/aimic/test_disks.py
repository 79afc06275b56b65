"""A full disk of this machine: told in words, also where the file is only closed; another error stays what it is."""

import errno
import tempfile
from functools import partial

import pytest

from aimic.disks import scarce, temporary_file
from aimic.errors import FullError


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary files lie on the kernel's own full disk."""
    monkeypatch.setattr(tempfile, "TemporaryFile", partial(open, "/dev/full", "r+b"))


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("size", [1, 1 << 16])
def test_what_does_not_fit_is_told_in_words(size: int) -> None:
    with pytest.raises(FullError, match="make room in"), temporary_file() as file:
        file.write(bytes(size))


def test_a_machine_that_was_full_from_its_start_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(FullError, match="TMPDIR"), temporary_file():
        pass


def test_another_error_stays_what_it_is() -> None:
    with pytest.raises(PermissionError), scarce("/tmp"):
        raise PermissionError(errno.EACCES, "Permission denied")
