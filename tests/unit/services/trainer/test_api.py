"""Ingest's answers as a worker understands them."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from aimic.domain.job import ProgressKind, TaskKind
from aimic.domain.work import ProgressItem
from aimic.errors import AimicError, ConflictError, StaleFenceError, UnavailableError
from services.trainer.api import ClaimedTask, Ingest
from services.trainer.uploads import is_stale

MakeLab = Callable[..., Any]
Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Callable[[Handler], Ingest]:
    """An Ingest whose calls are answered by a function."""
    real = httpx.Client

    def make(handler: Handler) -> Ingest:
        def client(**options: Any) -> httpx.Client:
            return real(transport=httpx.MockTransport(handler), **options)

        monkeypatch.setattr(httpx, "Client", client)
        return Ingest("http://ingest", "the key")

    return make


def _problem(status: int, code: str) -> httpx.Response:
    return httpx.Response(status, json={"code": code, "detail": "in plain words"})


def test_claims_with_the_key_and_works_with_the_token(played: Any, make_lab: MakeLab) -> None:
    claim = make_lab(images=4).claim(TaskKind.FOLD, fold=0)
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if request.url.path == "/api/v1/tasks/claim":
            return httpx.Response(200, content=claim.model_dump_json())
        if request.url.path.endswith("renew"):
            return httpx.Response(200, json={"lease_s": 30, "cancel": False, "token": "a fresh one"})
        return httpx.Response(204)

    ingest = played(handler)
    found = ingest.claim("me", [TaskKind.FOLD])
    task = ingest.task(found)
    task.renew()
    task.progress([ProgressItem(kind=ProgressKind.BATCH, data={"batch": 1})])
    assert found == claim
    tokens = [request.headers["authorization"] for request in seen]
    assert tokens == ["Bearer the key", "Bearer secret", "Bearer a fresh one"]
    assert all(json.loads(request.content)["fence"] == 1 for request in seen[1:])


def test_a_busy_ingest_is_waited_for_where_giving_up_costs_an_attempt(played: Any, make_lab: MakeLab) -> None:
    lab = make_lab(images=4)
    waits: dict[str, float] = {}

    def handler(request: httpx.Request) -> httpx.Response:
        what = request.url.path.rsplit("/", 1)[-1]
        waits[what] = request.extensions["timeout"]["read"]
        answers = {"renew": {"lease_s": 30, "cancel": False}, "samples": {"items": [], "next": None}}
        if what == "claim":
            return httpx.Response(204)
        return httpx.Response(200, json=answers.get(what, {"urls": {}}))

    ingest = played(handler)
    ingest.claim("me", [TaskKind.FOLD])
    task = ingest.task(lab.claim(TaskKind.FOLD, fold=0))
    list(task.samples())
    task.slots(1, ["a"])
    task.renew()
    assert {name: wait for name, wait in waits.items() if name != "renew"} == dict.fromkeys(
        ("claim", "samples", "objects"), 60.0
    )
    assert waits["renew"] < 30  # or the lease is gone before it is renewed again


def test_nothing_to_do_is_none(played: Any) -> None:
    assert played(lambda _: httpx.Response(204)).claim("me", [TaskKind.FOLD]) is None


@pytest.mark.parametrize(
    ("answer", "kind", "stale"),
    [
        (_problem(409, "stale_fence"), StaleFenceError, True),
        (_problem(401, "not_authenticated"), AimicError, True),
        (_problem(404, "not_found"), AimicError, True),
        (_problem(409, "conflict"), ConflictError, False),
        (httpx.Response(502, text="<html>"), UnavailableError, False),
        (_problem(429, "overloaded"), UnavailableError, False),
    ],
)
def test_an_error_says_whether_the_task_is_still_ours(
    played: Any, make_lab: MakeLab, answer: httpx.Response, kind: type[AimicError], stale: bool
) -> None:
    task = ClaimedTask(played(lambda _: answer), make_lab(images=4).claim(TaskKind.FOLD, fold=0))
    with pytest.raises(kind) as caught:
        task.finish({}, {})
    assert is_stale(caught.value) is stale


def test_no_connection_means_that_ingest_is_away(played: Any) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectTimeout("no answer", request=request)

    with pytest.raises(UnavailableError):
        played(handler).claim("me", [TaskKind.FOLD])


def test_samples_come_in_pages(played: Any, make_lab: MakeLab) -> None:
    lab = make_lab(images=5)

    def handler(request: httpx.Request) -> httpx.Response:
        first = int(request.url.params.get("after", -1)) + 1
        items = [sample.model_dump(mode="json") for sample in lab.samples[first : first + 2]]
        more = first + 1 if first + 2 < 5 else None
        return httpx.Response(200, json={"items": items, "next": more})

    task = ClaimedTask(played(handler), lab.claim(TaskKind.FOLD, fold=0))
    assert tuple(task.samples()) == lab.samples
