"""Many images are sent in batches and answered in order."""

import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from aimic.client import predict_images
from aimic.errors import InvalidInputError, NotFoundError, OverloadedError, UnavailableError, UnreadableImageError

ROUTE = "/inference/v1/models/m(/versions/1)?/predict"


def _names(request: httpx.Request) -> list[str]:
    return [n.decode() for n in re.findall(rb'filename="([^"]+)"', request.content)]


def _predict(request: httpx.Request) -> httpx.Response:
    names = _names(request)
    if names == ["bad"]:
        return httpx.Response(422, json={"code": "unreadable_image", "detail": "no image"})
    answer = {
        "label": "x",
        "probabilities": {"x": 1.0},
        "model": "m",
        "version": 1,
        "bundle_hash": "h",
        "executor": "e",
        "request_id": "r",
    }
    results = [
        {"index": i, "name": n, "error": {"code": "unreadable_image", "message": "no image"}}
        if n == "bad"
        else {"index": i, "name": n, "answer": answer}
        for i, n in enumerate(names)
    ]
    return httpx.Response(200, json={"model": "m", "version": 1, "request_id": "r", "results": results})


@pytest.fixture
def client(server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(predict_images, "BATCH_IMAGES", 3)
    monkeypatch.setattr(predict_images, "BATCH_BYTES", 100)
    server.on("POST", ROUTE, _predict)
    return server.client()


def test_order_and_numbers_over_batches(client: Any, server: Any) -> None:
    images = [(f"n{i}", b"x" * (90 if i == 4 else 20)) for i in range(8)]
    response = client.predict("m", images)
    assert [(r.index, r.name) for r in response.results] == [(i, f"n{i}") for i in range(8)]
    assert [_names(r) for r in server.requests] == [["n0", "n1", "n2"], ["n3"], ["n4"], ["n5", "n6", "n7"]]


def test_a_bad_image_alone_in_the_last_batch_costs_the_others_nothing(client: Any) -> None:
    response = client.predict("m", [("a", b"1"), ("bad", b"2"), ("c", b"3"), ("bad", b"4")])
    assert [r.error is None for r in response.results] == [True, False, True, False]
    assert response.results[3].index == 3


def test_nothing_readable_is_an_error(client: Any) -> None:
    with pytest.raises(UnreadableImageError, match="no image"):
        client.predict("m", [("bad", b"1")])


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (httpx.Response(504, json={"code": "deadline", "detail": "too late"}), "deadline"),
        (httpx.Response(429, json={"code": "overloaded", "detail": "busy"}), "overloaded"),
        (httpx.ReadError("broke"), "unavailable"),
        (httpx.ReadTimeout("late"), "deadline"),
    ],
)
def test_a_batch_that_fails_costs_the_answers_of_no_other(
    server: Any, monkeypatch: pytest.MonkeyPatch, fault: httpx.Response | Exception, code: str
) -> None:
    monkeypatch.setattr(predict_images, "BATCH_IMAGES", 2)

    def predict(request: httpx.Request) -> httpx.Response:
        if _names(request) == ["n2", "n3"]:
            if isinstance(fault, Exception):
                raise fault
            return fault
        return _predict(request)

    server.on("POST", ROUTE, predict)
    response = server.client().predict("m", [(f"n{i}", b"x") for i in range(5)])
    assert [(r.index, r.name) for r in response.results] == [(i, f"n{i}") for i in range(5)]
    assert [r.error.code if r.error else None for r in response.results] == [None, None, code, code, None]
    assert all(r.error.message for r in response.results if r.error)
    assert len(server.requests) == 2 + 4


def test_no_batch_answered_raises_the_first_error(client: Any, server: Any) -> None:
    server.faults = [("POST", httpx.Response(429, json={"code": "overloaded", "detail": "busy"}))] * 4
    server.faults += [("POST", httpx.ReadError("broke"))] * 4
    with pytest.raises(OverloadedError, match="busy"):
        client.predict("m", [(f"n{i}", b"x") for i in range(6)])


def test_a_server_that_goes_away_and_a_model_that_is_not_there(client: Any, server: Any) -> None:
    server.faults = [("POST", httpx.ConnectError("refused"))] * 4
    with pytest.raises(UnavailableError, match="isn't running"):
        client.predict("m", [("a", b"x")])
    server.faults = [("POST", httpx.Response(404, json={"code": "not_found", "detail": "no such model"}))]
    with pytest.raises(NotFoundError):
        client.predict("m", [(f"n{i}", b"x") for i in range(6)])


def test_nothing_and_nowhere(client: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no image"):
        client.predict("m", [])
    with pytest.raises(NotFoundError, match="There is no file"):
        client.predict("m", [tmp_path / "x.png"])


def test_the_deadline_goes_along_and_each_try_has_what_is_left_of_it(client: Any, server: Any) -> None:
    def slow_at_first(request: httpx.Request) -> httpx.Response:
        if len(server.requests) > 1:
            return _predict(request)
        time.sleep(0.02)
        raise httpx.ReadError("broke")

    server.routes.clear()
    server.on("POST", ROUTE, slow_at_first)
    client.predict("m", [("a", b"1")], deadline_s=2.5)
    first, second = (int(request.headers["x-deadline-ms"]) for request in server.requests)
    assert second <= first - 20 and first <= 2500


def _busy(seconds: str) -> httpx.Response:
    return httpx.Response(429, json={"code": "overloaded", "detail": "busy"}, headers={"retry-after": seconds})


def test_a_server_that_says_when_is_asked_then(client: Any, server: Any) -> None:
    server.faults = [("POST", _busy("3"))] * 3
    client.predict("m", [("a", b"1")])
    assert server.waits == [3.0] * 3


def test_a_wait_beyond_the_deadline_is_not_begun(client: Any, server: Any) -> None:
    server.faults = [("POST", _busy("3"))]
    with pytest.raises(OverloadedError, match="busy"):
        client.predict("m", [("a", b"1")], deadline_s=2)
    assert server.waits == []


def test_batches_stay_with_the_version_that_answered_first(client: Any, server: Any) -> None:
    client.predict("m", [(f"n{i}", b"x") for i in range(6)])
    paths = [request.url.path for request in server.requests]
    assert paths == ["/inference/v1/models/m/predict", "/inference/v1/models/m/versions/1/predict"]


def test_an_image_that_is_too_large_costs_the_others_nothing(client: Any, server: Any) -> None:
    def predict(request: httpx.Request) -> httpx.Response:
        if _names(request) == ["big"]:
            return httpx.Response(413, json={"code": "too_large", "detail": "larger"})
        return _predict(request)

    server.routes.clear()
    server.on("POST", ROUTE, predict)
    response = client.predict("m", [("a", b"1"), ("big", b"x" * 200), ("c", b"3")])
    assert [r.error.code if r.error else None for r in response.results] == [None, "too_large", None]
