"""What TorchServe answers, as errors of ours."""

import json

import pytest

from aimic.adapters.torchserve.front import problem
from aimic.adapters.torchserve.wire import Answer
from aimic.errors import AimicError, CorruptError, InvalidInputError, UnavailableError


@pytest.mark.parametrize("error", [CorruptError("It is damaged."), InvalidInputError("It does not fit.")])
def test_our_handlers_errors_keep_their_kind(error: AimicError) -> None:
    body = json.dumps({"code": error.code, "message": error.message}).encode()
    found = problem(Answer(error.status, body))
    assert type(found) is type(error) and found.message == error.message


@pytest.mark.parametrize(
    "body",
    [b'{"code": 500, "type": "InternalServerException", "message": "Worker died."}', b"", b"[1]", b"<html>", b"\xff"],
)
def test_torchserves_own_mean_not_now(body: bytes) -> None:
    found = problem(Answer(503, body))
    assert type(found) is UnavailableError and found.retry_after_s
