"""The REST shell: bodies, limits, problems, deadlines, credentials, OpenAPI."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from typing import Any, cast

import httpx
import pytest
from pydantic import SecretStr

from aimic.domain.prediction import PredictResponse
from aimic.errors import OverloadedError
from services.inference.app import Service
from services.inference.dataplane import DataPlane
from services.inference.deadline import Deadline
from services.inference.rest.application import application
from services.inference.settings import Settings

pytestmark = pytest.mark.anyio
Picture = Callable[..., bytes]
CELLS = "/inference/v1/models/cells/predict"


@pytest.fixture(scope="module")
async def parts(
    tmp_path_factory: pytest.TempPathFactory, running: Any, export: Any, until: Any, shelf_class: Any
) -> AsyncIterator[Service]:
    shelf = shelf_class()
    for version, stage in ((1, "serving"), (2, "candidate")):
        made = export(version)
        shelf.put("cells", version, made.file, made.hash, stage)
    home = tmp_path_factory.mktemp("home")
    limits = {"image_bytes": 100_000, "request_bytes": 400_000, "request_images": 20, "body_bytes": 800_000}
    async with running(home, shelf, **limits) as parts:
        await until(lambda: parts.reconciler.not_ready() is None)
        yield parts


@pytest.fixture
async def http(parts: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with client(parts, parts.settings) as http:
        yield http


def client(parts: Service, settings: Settings) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(application(settings, parts.plane))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


def parts_of(*images: bytes, field: str = "images") -> list[tuple[str, tuple[str, bytes, str]]]:
    return [(field, (f"{number}.png", data, "image/png")) for number, data in enumerate(images)]


def is_problem(answer: httpx.Response, status: int, code: str) -> bool:
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["request_id"] == answer.headers["x-request-id"]
    assert {"type", "title", "detail"} <= body.keys()
    return (answer.status_code, body["status"], body["code"]) == (status, status, code)


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", None])
async def test_a_raw_body_is_one_image(http: httpx.AsyncClient, picture: Picture, kind: str | None) -> None:
    headers = {"x-request-id": "mine"} | ({"content-type": kind} if kind else {})
    answer = await http.post(CELLS, content=picture(1), headers=headers)
    response = PredictResponse.model_validate(answer.json())
    assert (answer.status_code, answer.headers["x-request-id"], response.request_id) == (200, "mine", "mine")
    (result,) = response.results
    assert result.answer is not None and result.answer.label in {"round", "lobed", "granular"}


async def test_multipart_answers_in_order_as_the_raw_body_does(http: httpx.AsyncClient, picture: Picture) -> None:
    answer = await http.post(CELLS, files=parts_of(picture(1), b"no image", picture(2)))
    response = PredictResponse.model_validate(answer.json())
    assert [result.name for result in response.results] == ["0.png", "1.png", "2.png"]
    assert response.results[1].error is not None and response.results[1].error.code == "unreadable_image"
    for index, number in ((0, 1), (2, 2)):
        single = PredictResponse.model_validate((await http.post(CELLS, content=picture(number))).json())
        together, alone = response.results[index].answer, single.results[0].answer
        assert together is not None and alone is not None
        assert together.probabilities == pytest.approx(alone.probabilities, abs=1e-5)


async def test_a_version_is_loaded_when_it_is_asked_for(http: httpx.AsyncClient, picture: Picture, export: Any) -> None:
    path = "/inference/v1/models/cells/versions/2"
    before = (await http.get(path)).json()
    answer = await http.post(f"{path}/predict", content=picture(1))
    after = (await http.get(path)).json()
    assert (before["state"], before["stage"], before["classes"]) == ("loading", "candidate", None)
    assert answer.json()["results"][0]["answer"]["bundle_hash"] == export(2).hash
    assert (after["state"], after["image_size"], after["executor"]) == ("ready", 64, "torch-eager-fp32-cpu")


async def test_models_are_listed_with_their_state(http: httpx.AsyncClient) -> None:
    items = (await http.get("/inference/v1/models")).json()["items"]
    assert [(item["name"], item["version"]) for item in items] == [("cells", 1), ("cells", 2)]
    assert items[0]["state"] == "ready" and items[0]["classes"] == ["round", "lobed", "granular"]
    assert (await http.get("/inference/v1/models/cells")).json()["version"] == 1


@pytest.mark.parametrize("body", [b"no image", b"", b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
async def test_a_single_bad_image_is_a_problem(http: httpx.AsyncClient, body: bytes) -> None:
    headers = {"content-type": "image/png"}
    assert is_problem(await http.post(CELLS, content=body, headers=headers), 422, "unreadable_image")
    assert is_problem(await http.post(CELLS, files=parts_of(body)), 422, "unreadable_image")


async def test_a_large_image_among_others_is_refused_alone(http: httpx.AsyncClient, picture: Picture) -> None:
    answer = await http.post(CELLS, files=parts_of(b"\xff" * 150_000, picture(1)))
    results = answer.json()["results"]
    assert results[0]["error"]["code"] == "too_large" and results[1]["answer"] is not None


@pytest.mark.parametrize("declared", [True, False])
async def test_a_request_beyond_the_limit_is_refused_while_it_streams(
    http: httpx.AsyncClient, parts: Service, declared: bool
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100_000_000:
            sent += 50_000
            yield b"\xff" * 50_000

    headers = {"content-type": "image/png"} | ({"content-length": "100000000"} if declared else {})
    assert is_problem(await http.post(CELLS, content=endless(), headers=headers), 413, "too_large")
    assert sent <= (0 if declared else 450_000)


async def test_too_many_images_are_refused(http: httpx.AsyncClient) -> None:
    assert is_problem(await http.post(CELLS, files=parts_of(*[b"x"] * 21)), 413, "too_large")


MALFORMED = {
    "garbage": (b"garbage", "multipart/form-data; boundary=x"),
    "cut short": (
        b'--x\r\nContent-Disposition: form-data; name="images"\r\n\r\nabc',
        "multipart/form-data; boundary=x",
    ),
    "no boundary": (b"--x--", "multipart/form-data"),
    "empty": (b"--x--\r\n", "multipart/form-data; boundary=x"),
    "another field": (
        b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nabc\r\n--x--\r\n',
        "multipart/form-data; boundary=x",
    ),
    "endless header": (b"--x\r\nX: " + b"y" * 20_000, "multipart/form-data; boundary=x"),
    "another type": (b"{}", "application/json"),
}


@pytest.mark.parametrize("case", MALFORMED)
async def test_a_malformed_body_is_a_problem(http: httpx.AsyncClient, case: str) -> None:
    body, kind = MALFORMED[case]
    answer = await http.post(CELLS, content=body, headers={"content-type": kind})
    assert is_problem(answer, 422, "invalid_input")


async def test_unknown_models_and_paths_are_problems(http: httpx.AsyncClient, picture: Picture) -> None:
    others = "/inference/v1/models/others"
    assert is_problem(await http.get(others), 404, "not_found")
    assert is_problem(await http.post(f"{others}/predict", content=picture(1)), 404, "not_found")
    assert is_problem(await http.get("/inference/v1/models/cells/versions/9"), 404, "not_found")
    assert is_problem(await http.get("/inference/v1/models/cells/versions/x"), 422, "invalid_input")
    assert is_problem(await http.get("/inference/v1/nothing"), 404, "http")


@pytest.mark.parametrize("wish", ["0", "-5", "soon", "1.5", "9" * 12])
async def test_a_senseless_deadline_is_refused(http: httpx.AsyncClient, picture: Picture, wish: str) -> None:
    answer = await http.post(CELLS, content=picture(1), headers={"x-deadline-ms": wish})
    assert is_problem(answer, 422, "invalid_input")


async def test_a_deadline_that_passes_is_a_problem(http: httpx.AsyncClient, picture: Picture) -> None:
    files = parts_of(*(picture(number) for number in range(20)))
    answer = await http.post(CELLS, files=files, headers={"x-deadline-ms": "1"})
    assert is_problem(answer, 504, "deadline")


async def test_a_slow_upload_is_ended_by_the_deadline(http: httpx.AsyncClient) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(30)
        yield b"b"

    answer = await http.post(CELLS, content=slow(), headers={"x-deadline-ms": "100", "content-type": "image/png"})
    assert is_problem(answer, 504, "deadline")


async def test_with_a_key_only_who_sends_it_is_served(parts: Service, picture: Picture) -> None:
    settings = parts.settings.model_copy(update={"api_key": SecretStr("secret")})
    async with client(parts, settings) as http:
        assert is_problem(await http.get("/inference/v1/models"), 401, "not_authenticated")
        assert is_problem(await http.post(CELLS, content=picture(1)), 401, "not_authenticated")
        http.headers["authorization"] = "Bearer secret"
        assert (await http.post(CELLS, content=picture(1))).status_code == 200


async def test_without_a_key_foreign_pages_are_refused(http: httpx.AsyncClient) -> None:
    answer = await http.get("/inference/v1/models", headers={"origin": "http://elsewhere.example"})
    assert is_problem(answer, 403, "forbidden")


async def test_a_caller_who_hangs_up_ends_the_work(parts: Service, picture: Picture, until: Any) -> None:
    app = application(parts.settings, parts.plane)
    model = parts.plane.catalogue.resolve("local", "cells", 1).model
    assert model is not None
    body = [{"type": "http.request", "body": picture(1), "more_body": False}]
    sent: list[Any] = []
    hang_up = asyncio.Event()
    model.batcher._window_s, before = 30.0, model.batcher._window_s

    async def receive() -> Any:
        if body:
            return body.pop()
        await hang_up.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": CELLS,
        "query_string": b"",
        "headers": [(b"content-type", b"image/png")],
    }
    try:
        with model.batcher.job(1, Deadline.after(600)):  # another image seems to be on its way: this one waits for it
            call = asyncio.ensure_future(app(scope, receive, send))
            await until(lambda: len(model.batcher._ring))
            hang_up.set()
            await asyncio.wait_for(call, 5)
    finally:
        model.batcher._window_s = before
    assert sent[0]["status"] == 499
    assert model.in_use == 0


@pytest.mark.parametrize(
    ("path", "form"),
    [
        (CELLS, {"type", "title", "status", "detail", "code", "request_id", "details"}),
        ("/v2/models/cells/infer", {"error", "code", "request_id"}),
        ("/v2/models/cells/versions/1/infer", {"error", "code", "request_id"}),
    ],
)
async def test_what_would_be_turned_away_is_not_even_read(parts: Service, path: str, form: set[str]) -> None:
    class Busy:
        """The data plane of a service that takes nothing more."""

        catalogue = parts.plane.catalogue

        def door(self) -> AbstractContextManager[None]:
            raise OverloadedError("Busy.", retry_after_s=7)

    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("it was read")

    async def send(message: Any) -> None:
        sent.append(message)

    app = application(parts.settings, cast(DataPlane, Busy()))
    headers = [(b"content-type", b"image/png"), (b"x-request-id", b"mine")]
    await app({"type": "http", "method": "POST", "path": path, "headers": headers}, receive, send)
    assert sent[0]["status"] == 429
    assert {(b"retry-after", b"7"), (b"x-request-id", b"mine")} <= set(sent[0]["headers"])
    body = json.loads(sent[1]["body"])
    assert body["code"] == "overloaded" and body.keys() == form
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        assert (await http.get("/inference/v1/models")).status_code == 200


async def test_openapi_describes_bodies_and_problems(http: httpx.AsyncClient) -> None:
    document = (await http.get("/inference/v1/openapi.json")).json()
    operation = document["paths"]["/inference/v1/models/{name}/predict"]["post"]
    assert set(operation["requestBody"]["content"]) == {
        "image/*",
        "application/octet-stream",
        "multipart/form-data",
        "application/json",
    }
    assert {"413", "422", "429", "503", "504"} <= operation["responses"].keys()
    assert list(operation["responses"]["422"]["content"]) == ["application/problem+json"]


async def test_every_route_asks_who_calls(parts: Service) -> None:
    settings = parts.settings.model_copy(update={"api_key": SecretStr("secret")})
    async with client(parts, settings) as http:
        paths = (await http.get("/inference/v1/openapi.json")).json()["paths"]
        asked = 0
        for path, operations in paths.items():
            if path.startswith("/v2"):  # the Open Inference Protocol has its own form of errors, and tests of its own
                continue
            for method in operations:
                answer = await http.request(method, path.format(name="cells", version=1), content=b"x")
                assert is_problem(answer, 401, "not_authenticated"), (method, path)
                asked += 1
    assert asked == 5


async def test_bodies_beyond_what_all_may_hold_are_turned_away(parts: Service) -> None:
    app = application(parts.settings, parts.plane)
    transport = httpx.ASGITransport(app)
    holding, let_go = asyncio.Semaphore(0), asyncio.Event()

    async def held() -> AsyncIterator[bytes]:
        yield b"\xff" * 390_000
        # Asked for more: what was sent so far is counted.
        holding.release()
        await let_go.wait()

    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        headers = {"content-type": "image/png"}
        slow = [asyncio.create_task(http.post(CELLS, content=held(), headers=headers)) for _ in range(2)]
        async with asyncio.timeout(20):
            await holding.acquire()
            await holding.acquire()
        answer = await http.post(CELLS, content=b"\xff" * 90_000, headers=headers)
        assert is_problem(answer, 429, "overloaded") and int(answer.headers["retry-after"]) >= 1
        let_go.set()
        await asyncio.gather(*slow)
        assert is_problem(await http.post(CELLS, content=b"\xff" * 90_000, headers=headers), 422, "unreadable_image")
