"""Liveness is the event loop's, and nobody else's."""

import asyncio

from starlette.testclient import TestClient

from aimic.web import operations_app
from services.inference.pulse import Pulse


def test_a_loop_that_turns_is_alive_and_one_that_stands_is_not() -> None:
    now = 0.0
    loop = asyncio.new_event_loop()
    beats = Pulse(loop, lambda: now)
    now = 19.0
    assert beats.stopped() is None
    now = 21.0
    assert beats.stopped() == "the event loop has not turned for 21 s"
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert beats.stopped() is None


def test_healthz_says_what_is_wrong() -> None:
    with TestClient(operations_app(lambda: None, alive=lambda: "it stands")) as client:
        answer = client.get("/healthz")
    assert (answer.status_code, answer.json()["reason"]) == (503, "it stands")
