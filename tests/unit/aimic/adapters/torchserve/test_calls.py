"""Calls to TorchServe end by their deadlines, whatever else they need."""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from aimic.adapters.torchserve import calls as module
from aimic.adapters.torchserve.calls import Calls
from aimic.adapters.torchserve.ground import Ground, Settings
from aimic.adapters.torchserve.tokens import KINDS
from aimic.adapters.torchserve.wire import Answer
from aimic.errors import DeadlineError


class Refusing:
    """A wire that takes no token and gives no new one before its caller's time is over."""

    ends: float = 0.0

    def __init__(self, _path: Path) -> None:
        pass

    def call(self, _method: str, target: str, ends: float, _headers: Mapping[str, str], *_body: Any) -> Answer:
        if target.startswith("/token"):
            Refusing.ends = ends
            raise DeadlineError("no answer")
        return Answer(400, b'{"type": "InvalidKeyException"}')


def test_a_new_token_is_waited_for_no_longer_than_its_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    keys = {kind: {"key": kind, "expiration time": ends} for kind in KINDS} | {"API": {"key": "api"}}
    (tmp_path / "key_file.json").write_text(json.dumps(keys))
    monkeypatch.setattr(module, "Wire", Refusing)
    ground = SimpleNamespace(key_file=tmp_path / "key_file.json", socket=tmp_path.joinpath)
    calls = Calls(cast(Ground, ground), Settings(threads=1))
    with pytest.raises(DeadlineError):
        calls.infer("model", b"", 0.5, {})
    assert Refusing.ends <= time.monotonic() + 0.5
    with pytest.raises(DeadlineError):
        calls.infer("model", b"", 600, {})
    assert Refusing.ends <= time.monotonic() + module._NEW_TOKEN_S
