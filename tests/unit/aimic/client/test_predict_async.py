"""The asyncio client: several requests under way, answers in order, one version, nothing lost."""

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest

from aimic import tracing
from aimic.client import AsyncClient, Retry, predict_images
from aimic.client.predict_images import Image
from aimic.domain.prediction import ImageResult
from aimic.errors import (
    DeadlineError,
    InvalidInputError,
    NotAuthenticatedError,
    NotFoundError,
    OverloadedError,
    UnavailableError,
    UnreadableImageError,
)

pytestmark = pytest.mark.anyio
Fault = Callable[[list[str]], httpx.Response | Exception | None]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def two_images_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict_images, "BATCH_IMAGES", 2)


class Service:
    """Answers every image but those named bad; `fault` may say something else first."""

    def __init__(self, fault: Fault = lambda _: None) -> None:
        self.fault = fault
        self.asked: list[list[str]] = []
        self.paths: list[str] = []
        self.headers: list[httpx.Headers] = []
        self.at_once = self.most_at_once = 0
        self.version = 1
        self.hold: Callable[[list[str]], float] = lambda _: 0.0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            names = [n.decode() for n in re.findall(rb'filename="([^"]+)"', await request.aread())]
            self.asked.append(names)
            self.paths.append(request.url.path)
            self.headers.append(request.headers)
            await asyncio.sleep(self.hold(names))
            fault = self.fault(names)
            if isinstance(fault, Exception):
                raise fault
            return fault or self._answer(names)
        finally:
            self.at_once -= 1

    def _answer(self, names: list[str]) -> httpx.Response:
        if names == ["bad"]:
            return problem(422, "unreadable_image")
        answer = {"label": "x", "probabilities": {"x": 1.0}, "model": "m", "version": self.version,
                  "bundle_hash": "h", "executor": "e", "request_id": "r"}  # fmt: skip
        bad = {"error": {"code": "unreadable_image", "message": "no image"}}
        results = [{"index": i, "name": n, **(bad if n == "bad" else {"answer": answer})} for i, n in enumerate(names)]
        body = {"model": "m", "version": self.version, "request_id": "r", "results": results}
        return httpx.Response(200, json=body)

    def client(self, **more: Any) -> AsyncClient:
        http = httpx.AsyncClient(transport=httpx.MockTransport(self))
        return AsyncClient("http://aimic.test", "key", retry=Retry(first_s=0.01, longest_s=0.02, **more), http=http)


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"code": code, "detail": f"said {code}"}, headers=headers)


def pictures(count: int) -> list[Image]:
    return [(f"n{i}", b"x") for i in range(count)]


async def all_of(client: AsyncClient, images: list[Image], **more: Any) -> list[ImageResult]:
    async with aclosing(client.stream("m", images, **more)) as results:
        return [result async for result in results]


async def test_results_come_in_order_though_requests_end_in_any_order() -> None:
    service = Service()
    service.hold = lambda names: 0.05 if names[0] in {"n2", "n6"} else 0.0
    results = await all_of(service.client(), pictures(11))
    assert [(r.index, r.name) for r in results] == [(i, f"n{i}") for i in range(11)]
    assert all(r.answer for r in results)
    assert 1 < service.most_at_once <= 4


async def test_images_are_read_no_further_ahead_than_requests_go() -> None:
    read = 0

    def images() -> Iterator[Image]:
        nonlocal read
        for image in pictures(100):
            read += 1
            yield image

    async with aclosing(Service().client().stream("m", images(), in_flight=2)) as results:
        for _ in range(3):
            await anext(results)
        # The batch that was read, the two under way, and the image by which a batch knows that it is full.
        assert read <= 3 * 2 + 1


async def test_all_batches_stay_with_the_version_that_answered_first() -> None:
    service = Service()
    await all_of(service.client(), pictures(7))
    assert service.paths == ["/inference/v1/models/m/predict"] + ["/inference/v1/models/m/versions/1/predict"] * 3
    service.paths.clear()
    await all_of(service.client(), pictures(2), version=5)
    assert service.paths == ["/inference/v1/models/m/versions/5/predict"]


async def test_bad_files_have_their_error_in_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict_images, "MOST_BYTES", 10_000)
    (tmp_path / "good.png").write_bytes(b"x")
    (tmp_path / "large.png").write_bytes(b"x" * 10_001)
    images: list[Image] = [tmp_path / "none.png", tmp_path / "good.png", ("bad", b""), tmp_path, tmp_path / "large.png"]
    results = await all_of(Service().client(), images)
    codes = [r.error.code if r.error else None for r in results]
    assert codes == ["not_found", None, "unreadable_image", "unreadable_image", "too_large"]
    assert [r.index for r in results] == list(range(5))


async def test_a_name_of_any_bytes_is_sent(tmp_path: Path) -> None:
    odd = tmp_path / b"odd\xff.png".decode(errors="surrogateescape")
    odd.write_bytes(b"x")
    (result,) = await all_of(Service().client(), [odd])
    assert result.answer is not None


async def test_when_one_is_told_to_come_later_all_wait() -> None:
    times: list[float] = []

    def fault(names: list[str]) -> httpx.Response | None:
        times.append(asyncio.get_running_loop().time())
        return problem(429, "overloaded", **{"retry-after": "1"}) if len(times) == 4 else None

    results = await all_of(Service(fault).client(), pictures(40))
    assert all(r.answer for r in results)
    # The one beside it may have been under way; those that follow the two before it are not sent.
    assert sum(time < times[3] + 0.9 for time in times) <= 5


async def test_a_server_that_restarts_costs_a_stream_nothing() -> None:
    left = 9

    def fault(_: list[str]) -> Exception | None:
        nonlocal left
        left -= 1
        return httpx.ConnectError("refused") if 0 <= left < 8 else None

    results = await all_of(Service(fault).client(), pictures(20))
    assert len(results) == 20 and all(r.answer for r in results)


async def test_a_server_that_stays_away_ends_the_stream_and_what_came_before_holds() -> None:
    service = Service()
    service.fault = lambda _: httpx.ConnectError("refused") if len(service.asked) > 3 else None
    results = []
    with pytest.raises(UnavailableError, match="isn't running"):
        async with aclosing(service.client().stream("m", pictures(40), deadline_s=1, patience_s=1)) as stream:
            async for result in stream:
                results.append(result)
    assert [r.index for r in results if r.answer] == list(range(6))


async def test_a_batch_that_fails_alone_costs_the_others_nothing() -> None:
    service = Service(lambda names: problem(500, "internal") if "n4" in names else None)
    results = await all_of(service.client(), pictures(10))
    assert [r.index for r in results if r.error] == [4, 5]
    assert sum("n4" in names for names in service.asked) == 4


async def test_a_service_that_takes_fewer_images_at_a_time_gets_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict_images, "BATCH_IMAGES", 8)
    service = Service(lambda names: problem(413, "too_large") if len(names) > 3 else None)
    results = await all_of(service.client(), pictures(16))
    assert [r.name for r in results if r.answer] == [f"n{i}" for i in range(16)]


async def test_no_key_ends_it_at_once() -> None:
    service = Service(lambda _: problem(401, "not_authenticated"))
    with pytest.raises(NotAuthenticatedError):
        await all_of(service.client(), pictures(40))
    assert len(service.asked) == 1


async def test_who_stops_reading_takes_the_requests_back() -> None:
    service = Service()
    service.hold = lambda names: 0.0 if names[0] == "n0" else 30.0
    async with aclosing(service.client().stream("m", pictures(40))) as results:
        await anext(results)
        await anext(results)
        following = asyncio.ensure_future(anext(results))
        while service.at_once < 3:
            await asyncio.sleep(0.01)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert service.at_once == 0


async def test_predict_answers_all_at_once() -> None:
    service = Service()
    response = await service.client().predict("m", [*pictures(4), ("bad", b"")])
    assert (response.model, response.version, response.request_id) == ("m", 1, "r")
    assert [r.error is None for r in response.results] == [True] * 4 + [False]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (problem(422, "unreadable_image"), UnreadableImageError),
        (problem(404, "not_found"), NotFoundError),
        (problem(429, "overloaded", **{"retry-after": "60"}), OverloadedError),
        (problem(504, "deadline"), DeadlineError),
        (httpx.ConnectError("refused"), UnavailableError),
    ],
)
async def test_predict_raises_when_nothing_was_answered(fault: httpx.Response | Exception, kind: type) -> None:
    with pytest.raises(kind):
        await Service(lambda _: fault).client().predict("m", pictures(6), deadline_s=5)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>Sign in</html>"),
        httpx.Response(200, content=b"\xff\xfe"),
        httpx.Response(200, json={"status": "ok"}),
        httpx.Response(301, headers={"location": "https://aimic.test/"}),
    ],
)
async def test_what_is_no_answer_of_ours_is_said(answer: httpx.Response) -> None:
    service = Service(lambda _: answer)
    with pytest.raises(InvalidInputError, match=rf"at aimic.test \(status {answer.status_code}\) is not AIMIC's"):
        await service.client().predict("m", pictures(1), deadline_s=5)
    assert len(service.asked) == 1


async def test_each_request_is_put_into_the_trace_that_it_is_asked_in() -> None:
    service = Service()
    place = f"00-{'a' * 32}-{'b' * 16}-01"
    with tracing.span("asking", place):
        await all_of(service.client(), pictures(4))
    assert [headers["traceparent"] for headers in service.headers] == [place] * 2
    assert {headers["authorization"] for headers in service.headers} == {"Bearer key"}


async def test_a_server_that_says_nothing_is_left_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aimic.client.predict_async.GRACE_S", 0.05)
    service = Service()
    service.hold = lambda _: 60.0
    with pytest.raises(DeadlineError, match="didn't answer in time"):
        await service.client().predict("m", pictures(1), deadline_s=0.1)


async def test_no_image_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    service = Service()
    with pytest.raises(InvalidInputError, match="no image"):
        await service.client().predict("m", [])
    with pytest.raises(NotFoundError, match="There is no file"):
        await service.client().predict("m", [tmp_path / "x.png"])
    assert service.asked == []
