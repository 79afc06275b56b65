"""What every service's HTTP shares."""

import json
import logging
import re
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from aimic.errors import FullError, NotFoundError, UnavailableError
from aimic.telemetry import JsonFormatter, request_id, sane_request_id
from aimic.web import COME_AGAIN, RequestContext, begun, install_problem_handlers, operations_app


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()

    @app.get("/items/{number}")
    def item(number: int) -> dict[str, str]:
        if number == 404:
            raise NotFoundError("There is no item 404.", item=404)
        if number == 503:
            raise UnavailableError("The store is away.", retry_after_s=2.4)
        if number in COME_AGAIN:
            raise HTTPException(number, "Come again.")
        if number == 30:
            raise FullError("The disk is full.")
        if number == 500:
            raise RuntimeError("the secret of the house")
        return {"request_id": request_id.get()}

    install_problem_handlers(app, "test")
    app.add_middleware(RequestContext, service="test")
    return TestClient(app, raise_server_exceptions=False)


def test_a_sane_request_id_is_kept_and_another_replaced(client: TestClient) -> None:
    answer = client.get("/items/1", headers={"x-request-id": "abc-1"})
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "abc-1"
    answer = client.get("/items/1", headers={"x-request-id": "x" * 65})
    assert len(answer.headers["x-request-id"]) == 32


@pytest.mark.parametrize("sent", ["abc-1", "x" * 64])
def test_a_sane_request_id_is_taken_over(sent: str) -> None:
    assert sane_request_id(sent) == sent


@pytest.mark.parametrize("sent", ["", "x" * 65, "größe", "a\nb", "a\x7f", "\ud800"])
def test_any_other_request_id_is_replaced(sent: str) -> None:
    assert re.fullmatch("[0-9a-f]{32}", sane_request_id(sent))


def test_our_errors_are_problem_details(client: TestClient) -> None:
    answer = client.get("/items/404", headers={"x-request-id": "abc-2"})
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "urn:aimic:problem:not_found",
        "title": "Not found",
        "status": 404,
        "detail": "There is no item 404.",
        "code": "not_found",
        "request_id": "abc-2",
        "details": {"item": 404},
    }
    assert client.get("/items/503").headers["retry-after"] == "2"


@pytest.mark.parametrize(("path", "status"), [("/none", 404), ("/items/words", 422), ("/items/500", 500)])
def test_every_other_error_is_one_too_and_tells_no_secret(client: TestClient, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"]
    assert "secret" not in answer.text


@pytest.mark.parametrize("status", sorted(COME_AGAIN - {503}))
def test_whoever_should_come_again_is_told_when(client: TestClient, status: int) -> None:
    answer = client.get(f"/items/{status}")
    assert answer.status_code == status and int(answer.headers["retry-after"]) >= 1
    full = client.get("/items/30")
    assert (full.status_code, full.json()["code"], full.headers["retry-after"]) == (503, "full", "10")


def test_a_stream_tells_its_first_error_before_it_begins() -> None:
    def pieces(*, away: bool) -> Iterator[bytes]:
        if away:
            raise UnavailableError("The store is away.")
        yield from (b"a", b"b")

    with pytest.raises(UnavailableError):
        begun(pieces(away=True))
    assert list(begun(pieces(away=False))) == [b"a", b"b"]


def test_readiness_names_what_is_away() -> None:
    operations = TestClient(operations_app(lambda: None, lambda: {"objects": "The store is away."}))
    answer = operations.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ready", "away": {"objects": "The store is away."}}


def test_readiness_gives_its_reason_and_liveness_does_not_ask() -> None:
    reason: list[str | None] = ["the store is away"]
    operations = TestClient(operations_app(lambda: reason[0]))
    assert operations.get("/healthz").status_code == 200
    answer = operations.get("/readyz")
    assert (answer.status_code, answer.json()["reason"]) == (503, "the store is away")
    reason[0] = None
    assert operations.get("/readyz").status_code == 200
    assert "aimic_http_request_duration_seconds" in operations.get("/metrics").text


def test_a_log_line_is_one_json_object_with_its_request() -> None:
    record = logging.LogRecord("name", logging.INFO, "f", 1, "took %d", (3,), None)
    record.seconds = 0.5
    token = request_id.set("abc-3")
    row = json.loads(JsonFormatter("test").format(record))
    request_id.reset(token)
    assert (row["message"], row["service"], row["request_id"], row["seconds"]) == ("took 3", "test", "abc-3", 0.5)
