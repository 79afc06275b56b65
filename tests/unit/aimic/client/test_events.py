"""Server-sent events, whole and broken."""

import json
from typing import Any

import httpx
import pytest

from aimic.client import Wait
from aimic.client.events import Event, parse
from aimic.errors import NotFoundError, UnavailableError

AT = "2026-01-01T00:00:00Z"
JOB = {
    "id": "j",
    "dataset": "blood",
    "version": 1,
    "manifest_hash": "0",
    "settings": {"networks": ["resnet34"]},
    "serve": "refit",
    "status": "done",
    "split": {
        "kind": "kfold",
        "k": 5,
        "seed": 0,
        "groups": False,
        "classes": [],
        "set_aside": [],
        "locked": 0,
        "counts": [],
    },
    "findings": [],
    "tasks": [],
    "created_at": AT,
}


def _sse(*events: tuple[int, str, dict[str, Any], str | None], cut: str = "") -> httpx.Response:
    text = ": ping\n\n"
    for sequence, kind, data, task in events:
        body = {"job_id": "j", "task_id": task, "sequence": sequence, "kind": kind, "data": data, "at": AT}
        text += f"id: {sequence}\nevent: {kind}\ndata: {json.dumps(body)}\n\n"
    return httpx.Response(200, text=text + cut, headers={"content-type": "text/event-stream"})


def test_the_format() -> None:
    lines = ["id: 4", "event:epoch", "data: a", "data: b", "", ": comment", "data:c", "", "data: half"]
    assert list(parse(lines)) == [Event("4", "epoch", "a\nb"), Event("4", "message", "c")]


def test_watching_survives_breaks_and_tells_each_event_once(server: Any) -> None:
    answers = iter(
        [
            _sse((1, "status", {"status": "running"}, None), (2, "epoch", {}, "t"), cut="id: 3\ndata: {"),
            httpx.Response(503),
            # A server that repeats the last one.
            _sse((2, "epoch", {}, "t"), (3, "status", {"status": "done"}, "t")),
            _sse((4, "status", {"status": "done"}, None), (5, "warning", {}, None)),
        ]
    )
    server.on("GET", "/api/v1/jobs/j/events", lambda _: next(answers))
    server.on("GET", "/api/v1/jobs/j", JOB | {"status": "running"})
    seen = [event.sequence for event in server.client().jobs.watch("j")]
    assert seen == [1, 2, 3, 4]
    streams = [r for r in server.requests if r.url.path.endswith("/events")]
    assert [r.headers.get("last-event-id") for r in streams] == [None, "2", "2", "3"]


def test_watching_from_a_sequence(server: Any) -> None:
    server.on("GET", "/api/v1/jobs/j/events", lambda _: _sse((8, "status", {"status": "failed"}, None)))
    assert [event.sequence for event in server.client().jobs.watch("j", after=7)] == [8]
    assert server.requests[0].headers["last-event-id"] == "7"


def test_a_job_whose_last_status_was_seen_before_ends_at_once(server: Any) -> None:
    server.on("GET", "/api/v1/jobs/j/events", lambda _: _sse())
    server.on("GET", "/api/v1/jobs/j", JOB)
    assert list(server.client().jobs.watch("j", after=9)) == []
    assert len(server.requests) == 3


def test_a_job_that_is_not_there_is_said_at_once(server: Any) -> None:
    with pytest.raises(NotFoundError):
        list(server.client().jobs.watch("x"))
    assert len(server.requests) == 1


def test_a_server_that_stays_away_ends_the_watching(server: Any) -> None:
    server.faults = [("GET", httpx.ConnectError("away"))] * 1000
    told: list[Wait] = []
    with pytest.raises(UnavailableError, match="isn't running"):
        list(server.client(waiting=told.append).jobs.watch("j"))
    assert 600 < sum(server.waits) < 610
    assert "isn't running" in told[0].words and "Trying again in" in told[0].words


def test_progress_is_read_page_by_page(server: Any) -> None:
    def page(request: httpx.Request) -> httpx.Response:
        after, limit = int(request.url.params["after"]), int(request.url.params["limit"])
        last = min(after + limit, 1200)
        items: list[dict[str, Any]] = [
            {"job_id": "j", "task_id": None, "sequence": n, "kind": "warning", "data": {}, "at": AT}
            for n in range(after + 1, last + 1)
        ]
        return httpx.Response(200, json={"items": items, "next": None})

    server.on("GET", "/api/v1/jobs/j/progress", page)
    assert [p.sequence for p in server.client().jobs.progress("j", after=3)] == list(range(4, 1201))
