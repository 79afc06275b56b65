"""Callers hear of what hangs in time, and too many are sent away at once."""

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import httpx
from fastapi import FastAPI, Request
from starlette.responses import StreamingResponse

from services.ingest.admission import Admission, Patience, look_s

HASTE = Patience(answer_s=0.3, slow_answer_s=5.0, body_s=1.5)


def _app(most: int = 4, away: bool = False) -> tuple[FastAPI, threading.Event]:
    app, let = FastAPI(), threading.Event()

    @app.get("/hangs")
    def hangs() -> str:
        assert let.wait(10)
        return "done"

    @app.get("/slow/export")
    def slow() -> str:
        time.sleep(0.5)
        return "all of it"

    @app.get("/quick")
    def quick() -> str:
        return "here"

    @app.get("/jobs/1/events")
    async def events() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(5):
                await asyncio.sleep(0.1)
                yield b"."

        return StreamingResponse(pieces())

    @app.post("/upload")
    async def upload(request: Request) -> int:
        return len(await request.body())

    long = re.compile("^GET .*/export$")
    app.add_middleware(Admission, service="test", most=most, slow=long, away=lambda: away, patience=HASTE)
    return app, let


def _run(app: FastAPI, talk: Callable[[httpx.AsyncClient], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as http:
            await talk(http)

    asyncio.run(main())


def test_what_hangs_is_told_in_time_and_ends_by_itself() -> None:
    app, let = _app(most=1)

    async def talk(http: httpx.AsyncClient) -> None:
        late = await http.get("/hangs")
        assert late.status_code == 503 and int(late.headers["retry-after"]) >= 1
        assert late.json()["code"] == "unavailable" and "didn't answer in time" in late.json()["detail"]
        # It still counts while it hangs, and no longer than that.
        busy = await http.get("/quick")
        assert busy.status_code == 503 and busy.headers["retry-after"]
        let.set()
        async with asyncio.timeout(5):
            while (await http.get("/quick")).status_code != 200:
                await asyncio.sleep(0.01)

    _run(app, talk)


def test_long_work_and_event_streams_are_not_cut() -> None:
    app, _ = _app()

    async def talk(http: httpx.AsyncClient) -> None:
        assert (await http.get("/slow/export")).json() == "all of it"
        assert (await http.get("/jobs/1/events")).text == "....."

    _run(app, talk)


def test_long_work_is_not_waited_for_while_what_it_needs_is_away() -> None:
    app, _ = _app(away=True)

    async def talk(http: httpx.AsyncClient) -> None:
        assert (await http.get("/slow/export")).status_code == 503

    _run(app, talk)


def test_a_body_may_take_long_while_it_comes_but_not_stand_still() -> None:
    app, _ = _app()

    async def body(pauses: int, pause_s: float) -> AsyncIterator[bytes]:
        for _ in range(pauses):
            yield b"12345"
            await asyncio.sleep(pause_s)

    async def talk(http: httpx.AsyncClient) -> None:
        assert (await http.post("/upload", content=body(5, 0.35))).json() == 25
        stalled = await http.post("/upload", content=body(2, 60))
        assert stalled.status_code == 503 and "send the rest" in stalled.json()["detail"]

    _run(app, talk)


def test_many_at_once_are_shed_before_they_cost_anything() -> None:
    app, let = _app(most=3)

    async def talk(http: httpx.AsyncClient) -> None:
        answers = await asyncio.gather(*(http.get("/hangs") for _ in range(20)))
        assert [answer.status_code for answer in answers] == [503] * 20
        shed = [answer for answer in answers if "at once" in answer.json()["detail"]]
        assert len(shed) == 17
        let.set()

    _run(app, talk)


def test_the_limit_is_looked_at_when_it_passes_and_not_a_whole_look_later() -> None:
    assert look_s(left_s=12.0, often_s=2.0) == 2.0
    assert 0.5 < look_s(left_s=0.5, often_s=2.0) < 0.6
    assert look_s(left_s=-3.0, often_s=2.0) == 2.0  # long work, that is let go on
