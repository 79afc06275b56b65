"""All request bodies together have a bound in memory, and give their room back."""

import asyncio

import httpx
from fastapi import FastAPI, Request

from aimic.web import install_problem_handlers
from services.ingest.limits import TOGETHER, BodyLimit

LIMIT = 1000


def _app(gate: asyncio.Event, inside: asyncio.Semaphore) -> FastAPI:
    app = FastAPI()

    @app.post("/items")
    async def item(request: Request) -> int:
        size = len(await request.body())
        inside.release()
        await gate.wait()
        return size

    install_problem_handlers(app, "test")
    app.add_middleware(BodyLimit, limit=LIMIT, exempt="/uploads")
    return app


def test_large_bodies_together_find_a_bound_and_room_again() -> None:
    async def main() -> None:
        gate, inside = asyncio.Event(), asyncio.Semaphore(0)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(_app(gate, inside)), base_url="http://t") as http:
            held = [asyncio.create_task(http.post("/items", content=bytes(LIMIT))) for _ in range(TOGETHER)]
            for _ in held:
                await inside.acquire()
            refused = await http.post("/items", content=b"x")
            assert refused.status_code == 503
            assert refused.headers["retry-after"] and refused.json()["code"] == "unavailable"
            assert (await http.post("/items", content=bytes(LIMIT + 1))).status_code == 413
            gate.set()
            assert [answer.json() for answer in await asyncio.gather(*held)] == [LIMIT] * TOGETHER
            assert (await http.post("/items", content=bytes(LIMIT))).json() == LIMIT

    asyncio.run(main())
