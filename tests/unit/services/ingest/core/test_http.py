"""What every route keeps to: permissions, idempotency, paging, limits, problem details."""

from typing import Any

import pytest
from fastapi.routing import APIRoute

from services.ingest.app import ROUTERS, openapi
from services.ingest.tasks.routes import task_token


def _calls(dependant: Any) -> list[Any]:
    return [dependant.call, *(call for sub in dependant.dependencies for call in _calls(sub))]


@pytest.mark.parametrize(
    "route", [route for router in ROUTERS for route in router.routes], ids=lambda route: route.path
)
def test_every_route_declares_its_permission(route: APIRoute) -> None:
    if route.methods == {"OPTIONS"}:
        return  # what the server can do is no secret
    calls = _calls(route.dependant)
    assert task_token in calls or any(hasattr(call, "permission") for call in calls)


def test_a_key_makes_a_creation_happen_once(scene: Any) -> None:
    body = {"dataset": "cells", "settings": {"networks": ["resnet34"], "split": {"k": 2}}}
    key = {"Idempotency-Key": "one"}
    first = scene.client.post("/api/v1/jobs", json=body, headers=key)
    again = scene.client.post("/api/v1/jobs", json=body, headers=key)
    assert first.status_code == again.status_code == 201 and first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    other = scene.client.post("/api/v1/jobs", json={**body, "model": "m"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "conflict")
    assert len(scene.client.get("/api/v1/jobs").json()["items"]) == 1


def test_lists_page_by_cursor_without_loss_or_repetition(scene: Any) -> None:
    made = [scene.start()["id"] for _ in range(5)]
    found, cursor = [], None
    while True:
        page = scene.client.get("/api/v1/jobs", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        found += [job["id"] for job in page["items"]]
        assert len(page["items"]) <= 2
        if (cursor := page["next"]) is None:
            break
    assert found == made[::-1]
    for strange in ("x", "W10=", "eyJhIjoxfQ=="):
        assert scene.client.get("/api/v1/jobs", params={"cursor": strange}).json()["code"] == "invalid_input"


def test_a_body_over_the_limit_is_refused_with_or_without_a_length(scene: Any) -> None:
    limit = scene.parts.settings.ingest_body_limit
    said = scene.client.post("/api/v1/jobs", content=b"x" * (limit + 1))
    unsaid = scene.client.post("/api/v1/jobs", content=(b"x" * 2**20 for _ in range(limit // 2**20 + 2)))
    for answer in (said, unsaid):
        assert answer.status_code == 413
        assert answer.headers["content-type"] == "application/problem+json"


def test_errors_are_problem_documents_with_the_request_id(scene: Any) -> None:
    answer = scene.client.get("/api/v1/jobs/nothing", headers={"X-Request-ID": "abc"})
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["request_id"]) == (404, "not_found", "abc")
    assert answer.headers["x-request-id"] == "abc"


def test_a_page_of_another_site_is_not_served(scene: Any) -> None:
    answer = scene.client.get("/api/v1/jobs", headers={"Origin": "https://elsewhere.example"})
    assert answer.status_code == 403


def test_the_openapi_document_is_complete() -> None:
    document = openapi()
    paths = document["paths"]
    assert {"/api/v1/jobs", "/api/v1/tasks/claim", "/api/v1/models/import", "/api/v1/serving"} <= set(paths)
    assert document["info"]["title"] == "AIMIC ingest"
