"""The child process as the worker sees it."""

import subprocess
from typing import Any

import pytest

from services.trainer.process import ChildProcess


@pytest.mark.timeout(30)
def test_a_child_that_can_not_be_ended_does_not_keep_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    child = ChildProcess(1)

    def hangs(seconds: float) -> Any:
        raise subprocess.TimeoutExpired("child", seconds)

    with monkeypatch.context() as patch:
        patch.setattr(child._process, "wait", hangs)
        child.close()
    assert child._process.stdout is not None and not child._process.stdout.closed
    child.close()
    assert child.ended() == -9 and child._process.stdout.closed
