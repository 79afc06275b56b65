"""The same fault means the same on every surface, and it is what the table of docs/clients.md says."""

import json
import re
from pathlib import Path

import pytest

from aimic import errors, web
from aimic.errors import AimicError
from aimic.telemetry import request_id
from services.inference.grpc.messages import problem_of
from services.inference.oip.errors import refusal

PAGE = Path(__file__).parents[4] / "docs" / "clients.md"
ROWS = re.findall(r"^\| `(\w+)` \|[^|]*\| (\d+) \| (\d+) \| ([A-Z_]+) \|$", PAGE.read_text(), re.MULTILINE)
ERRORS = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type)
    and issubclass(kind, AimicError)
    # Of the records' and the stores' own: no surface of inference changes or stores anything.
    and kind.code not in {"conflict", "stale_fence", "full"}
}


def test_the_table_has_every_error_once() -> None:
    assert sorted(row[0] for row in ROWS) == sorted(ERRORS)


@pytest.mark.parametrize(("code", "rest", "protocol", "rpc"), ROWS)
def test_every_surface_says_code_sentence_and_request(code: str, rest: str, protocol: str, rpc: str) -> None:
    error = ERRORS[code]("What happened, and what to do.")
    token = request_id.set("mine")
    try:
        ours, theirs = web.problem_of(error), refusal(error)
    finally:
        request_id.reset(token)
    assert (ours.status_code, theirs.status_code, error.grpc_code) == (int(rest), int(protocol), rpc)
    said, also = json.loads(bytes(ours.body)), json.loads(bytes(theirs.body))
    told = problem_of(error, "mine")
    expected = (code, "What happened, and what to do.", "mine")
    assert (said["code"], said["detail"], said["request_id"]) == expected
    assert (also["code"], also["error"], also["request_id"]) == expected
    assert (told.code, told.message, told.request_id) == expected
    waits = error.retry_after_s is not None
    assert ("retry-after" in ours.headers, "retry-after" in theirs.headers) == (waits, waits)
    assert told.HasField("retry_after_seconds") == waits
