"""The REST shell when it can't answer: what is no image, limits, deadlines, callers who leave."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from typing import Any, cast

import httpx
import pytest

from aimic.errors import OverloadedError
from services.inference.app import Service
from services.inference.dataplane import DataPlane
from services.inference.deadline import Deadline
from services.inference.rest.application import application
from tests.unit.services.inference.calling import CELLS, Leaving, is_problem, parts_of

pytestmark = pytest.mark.anyio
Picture = Callable[..., bytes]


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


async def test_a_caller_who_hangs_up_ends_the_work(parts: Service, picture: Picture, until: Any) -> None:
    model = parts.plane.catalogue.resolve("local", "cells", 1).model
    assert model is not None
    caller = Leaving(CELLS, picture(1), {"content-type": "image/png"})
    model.batcher._window_s, before = 30.0, model.batcher._window_s
    try:
        with model.batcher.job(1, Deadline.after(600)):  # another image seems to be on its way: this one waits for it
            call = asyncio.ensure_future(caller.ask(application(parts.settings, parts.plane)))
            await until(lambda: len(model.batcher._ring))
            caller.leave.set()
            await asyncio.wait_for(call, 5)
    finally:
        model.batcher._window_s = before
    assert caller.status == 499
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
