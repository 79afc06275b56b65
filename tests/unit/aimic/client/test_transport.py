"""Errors become what they were on the server; creating twice makes one thing."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from aimic import errors
from aimic.client import Wait
from aimic.client.problems import error_of
from aimic.domain.job import JobRequest, TrainSettings

REQUEST = JobRequest(dataset="blood", settings=TrainSettings(networks=("resnet34",)))


def _answer(status: int, **body: Any) -> httpx.Response:
    return httpx.Response(status, json=body, request=httpx.Request("GET", "http://aimic.test/x"))


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (422, "invalid_input", errors.InvalidInputError),
        (422, "unreadable_image", errors.UnreadableImageError),
        (422, "corrupt", errors.CorruptError),
        (409, "stale_fence", errors.StaleFenceError),
        (409, "", errors.ConflictError),
        (401, "http", errors.NotAuthenticatedError),
        (404, "http", errors.NotFoundError),
        (502, "", errors.UnavailableError),
        (418, "", errors.AimicError),
    ],
)
def test_the_class_of_a_problem(status: int, code: str, kind: type[errors.AimicError]) -> None:
    error = error_of(_answer(status, code=code, detail="In plain words.", request_id="r1"))
    assert type(error) is kind
    assert error.details["request_id"] == "r1"
    assert error.message.startswith("In plain words.")


def test_details_of_the_server_come_along_and_cannot_shadow_ours() -> None:
    error = error_of(_answer(422, detail="no", details={"k": 5, "message": "x", "http_status": 1}))
    assert error.details == {"k": 5, "http_status": 422}


def test_a_fault_of_the_server_names_the_request() -> None:
    assert error_of(_answer(500, detail="Oops.", request_id="r9")).message == "Oops. (request r9)"


def test_an_answer_without_a_document_still_says_something() -> None:
    answer = httpx.Response(502, text="<html>", request=httpx.Request("GET", "http://aimic.test/x"))
    assert error_of(answer).message == "The server at aimic.test answered 502 Bad Gateway."


def test_no_server_says_how_to_start_it(server: Any) -> None:
    server.faults = [("GET", httpx.ConnectError("refused"))] * 4
    with pytest.raises(errors.UnavailableError, match=r"isn't running at http://aimic.test; start it with `aimic up`"):
        server.client().jobs.list()
    assert len(server.requests) == 4
    assert server.waits == sorted(server.waits)


def test_a_refusal_is_not_tried_again(server: Any) -> None:
    server.faults = [("POST", _answer(422, code="invalid_input", detail="k is more than the groups"))]
    with pytest.raises(errors.InvalidInputError, match="more than the groups"):
        server.client().jobs.create(REQUEST)
    assert len(server.requests) == 1


def test_a_creation_sent_twice_has_one_key(server: Any) -> None:
    server.on("POST", "/api/v1/weights", {"weights": "file:abc"})
    server.faults = [("POST", httpx.ReadError("broke")), ("POST", _answer(503, detail="away"))]
    client = server.client()
    assert client._ingest.create("/api/v1/weights", {"upload": "u"}) == {"weights": "file:abc"}
    client._ingest.create("/api/v1/weights", {"upload": "u"})
    keys = [r.headers["idempotency-key"] for r in server.requests]
    assert len(keys) == 4
    assert len(set(keys[:3])) == 1
    assert keys[3] != keys[0]


def _slow_calls(client: Any) -> list[Callable[[], object]]:
    return [
        lambda: client.jobs.create(REQUEST),
        lambda: client.models.evaluate("m", "blood", 1),
        lambda: client.models.import_(b"bundle"),
        lambda: client.weights.upload(b"weights"),
    ]


@pytest.mark.parametrize("call", range(4))
@pytest.mark.parametrize("late", [httpx.ReadTimeout("late"), _answer(504, code="deadline", detail="late")])
def test_a_slow_creation_has_minutes_and_is_not_begun_twice(
    server: Any, tus: Any, call: int, late: httpx.Response | Exception
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if isinstance(late, Exception):
            raise late
        return late

    path = ["jobs", "models/m/versions/1/evaluate", "models/import", "weights"][call]
    server.on("POST", f"/api/v1/{path}", answer)
    with pytest.raises(errors.DeadlineError):
        _slow_calls(server.client(timeout_s=0.1))[call]()
    asked = [request for request in server.requests if request.url.path == f"/api/v1/{path}"]
    assert len(asked) == 1
    assert asked[0].extensions["timeout"]["read"] == 600
    assert asked[0].extensions["timeout"]["connect"] <= 5


def test_a_slow_creation_that_was_not_taken_is_sent_again(server: Any) -> None:
    server.faults = [("POST", httpx.ConnectError("refused"))] * 3 + [("POST", _answer(422, detail="no"))]
    with pytest.raises(errors.InvalidInputError):
        server.client().jobs.create(REQUEST)
    assert len({request.headers["idempotency-key"] for request in server.requests}) == 1
    assert len(server.requests) == 4


def test_a_busy_server_is_given_the_time_it_asks_for(server: Any) -> None:
    server.on("GET", "/api/v1/jobs", {"items": [], "next": None})
    server.faults = [("GET", httpx.Response(429, headers={"retry-after": "9"}))]
    assert server.client().jobs.list() == []
    assert server.waits == [9.0]


def test_a_server_that_asks_for_patience_gets_it_within_bounds(server: Any) -> None:
    away = httpx.Response(503, json={"code": "unavailable", "detail": "Storage is away."}, headers={"retry-after": "5"})
    server.on("GET", "/api/v1/jobs", {"items": [], "next": None})
    server.faults = [("GET", away)] * 8
    told: list[Wait] = []
    assert server.client(waiting=told.append).jobs.list() == []
    assert [wait.words for wait in told] == ["Storage is away. Trying again in 5 s."] * 8
    server.faults = [("GET", away)] * 50
    with pytest.raises(errors.UnavailableError, match=r"Storage is away\."):
        server.client().jobs.list()
    assert len(server.faults) == 50 - 13  # a minute, and once more


def test_what_may_not_be_done_twice_is_not_sent_again_however_patient(server: Any) -> None:
    server.faults = [("POST", httpx.Response(503, headers={"retry-after": "1"}))] * 2
    with pytest.raises(errors.UnavailableError):
        server.client()._ingest.request("POST", "/api/v1/jobs")
    assert len(server.requests) == 1 and server.waits == []


def test_the_key_goes_along(server: Any) -> None:
    server.on("GET", "/api/v1/jobs", {"items": [], "next": None})
    server.client(api_key="secret").jobs.list()
    assert server.requests[0].headers["authorization"] == "Bearer secret"


def test_lists_are_read_to_their_end(server: Any) -> None:
    def page(request: httpx.Request) -> httpx.Response:
        cursor = request.url.params.get("cursor")
        item = {"name": f"set{cursor or 0}", "latest": None, "created_at": "2026-01-01T00:00:00Z"}
        return httpx.Response(200, json={"items": [item], "next": None if cursor == "2" else str(int(cursor or 0) + 1)})

    server.on("GET", "/api/v1/datasets", page)
    assert [d.name for d in server.client().datasets.list()] == ["set0", "set1", "set2"]


def test_a_list_of_some_asks_for_no_more(server: Any) -> None:
    server.on("GET", "/api/v1/jobs", {"items": [], "next": None})
    assert server.client().jobs.list(3) == []
    assert server.requests[0].url.params["limit"] == "3"
