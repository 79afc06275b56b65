"""Images named instead of sent: samples of a data set, got with the caller's own credential."""

import asyncio
import hashlib
import json
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from aimic.ports.blobs import BlobInfo
from services.inference.app import Service
from services.inference.rest.application import application
from services.inference.rest.objects import Objects, Place
from services.inference.rest.references import Samples
from tests.unit.services.inference.calling import CELLS, Leaving

pytestmark = pytest.mark.anyio
Picture = Callable[..., bytes]
KEY = "secret"


def hash_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Ingest:
    """The samples of one data set, and what was asked for."""

    def __init__(self, *stored: bytes) -> None:
        self.stored = {hash_of(data): data for data in stored}
        self.asked: list[httpx.Request] = []
        self.away = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if self.away:
            raise httpx.ConnectError("refused")
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return httpx.Response(403, json={"code": "forbidden", "detail": "You may not."})
        place, _, sha256 = request.url.path.removesuffix("/image").rpartition("/")
        if place != "/api/v1/datasets/blood/samples" or sha256 not in self.stored:
            return httpx.Response(404, json={"code": "not_found", "detail": "There is no such sample."})
        return httpx.Response(200, content=self.stored[sha256])


@pytest.fixture(scope="module")
async def parts(
    tmp_path_factory: pytest.TempPathFactory, running: Any, export: Any, until: Any, shelf_class: Any
) -> AsyncIterator[Service]:
    shelf = shelf_class()
    made = export(1)
    shelf.put("cells", 1, made.file, made.hash, "serving")
    limits = {"image_bytes": 100_000, "request_bytes": 300_000, "request_images": 5, "body_bytes": 600_000}
    async with running(tmp_path_factory.mktemp("home"), shelf, **limits) as parts:
        await until(lambda: parts.reconciler.not_ready() is None)
        yield parts


@pytest.fixture
def ingest(picture: Picture) -> Ingest:
    return Ingest(*(picture(number) for number in range(3)))


class Asks:
    """POSTs a JSON body."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def __call__(self, body: Any, key: str = KEY, **more: str) -> httpx.Response:
        path = "/inference/v1/models/cells/predict"
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"} | more
        return await self._http.post(path, content=json.dumps(body), headers=headers)


@pytest.fixture
async def ask(parts: Service, ingest: Ingest) -> AsyncIterator[Asks]:
    settings = parts.settings.model_copy(update={"api_key": SecretStr(KEY)})
    http = httpx.AsyncClient(transport=httpx.MockTransport(ingest), base_url="http://ingest")
    app = application(settings, parts.plane, samples=Samples(http))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as made:
        yield Asks(made)


async def test_samples_are_answered_like_the_same_images_sent(ask: Asks, ingest: Ingest) -> None:
    names = list(ingest.stored)[::-1]
    answer = await ask({"dataset": "blood", "samples": names})
    assert answer.status_code == 200
    assert [result["name"] for result in answer.json()["results"]] == names
    assert all(result["answer"]["label"] for result in answer.json()["results"])
    assert {request.headers["authorization"] for request in ingest.asked} == {f"Bearer {KEY}"}


async def test_ingest_is_asked_under_the_same_request_id_and_trace(ask: Asks, ingest: Ingest) -> None:
    sent = {"x-request-id": "mine", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    await ask({"dataset": "blood", "samples": list(ingest.stored)}, KEY, **sent)
    for request in ingest.asked:
        assert sent.items() <= dict(request.headers).items()


async def test_who_hangs_up_while_the_images_are_fetched_ends_that(parts: Service) -> None:
    asked = asyncio.Event()

    async def silent(_: httpx.Request) -> httpx.Response:
        asked.set()
        await asyncio.sleep(600)
        raise AssertionError("nobody waits so long")

    body = json.dumps({"dataset": "blood", "samples": ["ab" * 32]}).encode()
    caller = Leaving(CELLS, body, {"content-type": "application/json"})
    http = httpx.AsyncClient(transport=httpx.MockTransport(silent), base_url="http://ingest")
    call = asyncio.ensure_future(caller.ask(application(parts.settings, parts.plane, samples=Samples(http))))
    await asyncio.wait_for(asked.wait(), 60)
    caller.leave.set()
    await asyncio.wait_for(call, 20)
    assert caller.status == 499


async def test_the_callers_credential_is_what_counts(parts: Service, ingest: Ingest, ask: Asks) -> None:
    assert (await ask({"dataset": "blood", "samples": list(ingest.stored)}, key="wrong")).status_code == 401
    assert ingest.asked == []
    # An installation without a key: none is sent on, and none of our own is put in its place.
    http = httpx.AsyncClient(transport=httpx.MockTransport(ingest), base_url="http://ingest")
    app = application(parts.settings, parts.plane, samples=Samples(http))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as made:
        body = {"dataset": "blood", "samples": list(ingest.stored)}
        answer = await made.post("/inference/v1/models/cells/predict", json=body)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert all("authorization" not in request.headers for request in ingest.asked)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"dataset": "other", "samples": ["ab" * 32]}, 404, "no such sample"),
        ({"dataset": "../models", "samples": ["ab" * 32]}, 404, "no such sample"),
        ({"dataset": "..", "samples": ["ab" * 32]}, 422, "dataset"),
        ({"dataset": "blood", "samples": []}, 422, "samples"),
        ({"dataset": "blood", "samples": ["../x"]}, 422, "samples.0"),
        ({"dataset": "blood", "samples": ["ab" * 32], "version": 1}, 422, "version"),
        ({"s3": "s3://bucket/key"}, 422, "s3"),
        ({"s3": ["s3://bucket/key"]}, 403, "AIMIC_INFERENCE_S3_READABLE"),
        ({"s3": ["s3://bucket/key"], "endpoint": "http://169.254.169.254"}, 422, "endpoint"),
        ({"dataset": "s3", "samples": ["ab" * 32]}, 404, "no such sample"),
        ([], 422, "names samples"),
        ({"dataset": "blood", "samples": ["ab" * 32] * 6}, 413, "At most 5 images"),
    ],
)
async def test_what_cannot_be_is_said(ask: Asks, body: Any, status: int, words: str) -> None:
    answer = await ask(body)
    assert answer.status_code == status
    assert words in answer.json()["detail"]


async def test_a_name_of_a_data_set_leads_nowhere_else(ask: Asks, ingest: Ingest) -> None:
    await ask({"dataset": "../../x?y#z", "samples": ["ab" * 32]})
    (request,) = ingest.asked
    assert request.url.raw_path == b"/api/v1/datasets/..%2F..%2Fx%3Fy%23z/samples/" + b"ab" * 32 + b"/image"


async def test_ingest_away(ask: Asks, ingest: Ingest) -> None:
    ingest.away = True
    answer = await ask({"dataset": "blood", "samples": list(ingest.stored)})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "can't be reached" in answer.json()["detail"]


async def test_limits_hold_for_samples_too(ask: Asks, ingest: Ingest) -> None:
    one, many = b"x" * 100_001, [bytes([number]) * 90_000 for number in range(4)]
    ingest.stored = {hash_of(data): data for data in (one, *many)}
    answer = await ask({"dataset": "blood", "samples": [hash_of(one)]})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    answer = await ask({"dataset": "blood", "samples": [hash_of(data) for data in many]})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_other_bytes_than_were_stored_are_not_used(ask: Asks, ingest: Ingest) -> None:
    ingest.stored["ab" * 32] = b"something else"
    answer = await ask({"dataset": "blood", "samples": ["ab" * 32]})
    assert (answer.status_code, answer.json()["code"]) == (422, "corrupt")


async def test_where_samples_cannot_be_got_images_are_to_be_sent(parts: Service) -> None:
    app = application(parts.settings, parts.plane)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as made:
        answer = await made.post(
            "/inference/v1/models/cells/predict", json={"dataset": "blood", "samples": ["ab" * 32]}
        )
    assert answer.status_code == 403 and "Send the images" in answer.json()["detail"]


async def test_objects_are_answered_like_the_same_images_sent(parts: Service, picture: Picture) -> None:
    images = [picture(0), b"no image", picture(1)]

    class Store:
        def stat(self, bucket: str, key: str) -> BlobInfo:
            return BlobInfo(key=key, size=len(images[int(key[-1])]))

        def read(self, bucket: str, key: str, most: int, stopped: threading.Event) -> bytes:
            return images[int(key[-1])][:most]

        def list(self, bucket: str, prefix: str, most: int) -> list[BlobInfo]:
            raise AssertionError("nobody asked for a prefix")

    objects = Objects(Store(), {"local": [Place("slides", "")]})
    names = [f"s3://slides/a/{number}" for number in range(3)]
    app = application(parts.settings, parts.plane, objects=objects)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as made:
        path = "/inference/v1/models/cells/predict"
        named = (await made.post(path, json={"s3": names})).json()["results"]
        sent = (await made.post(path, files=[("images", image) for image in images])).json()["results"]
    objects.close()
    assert [result["name"] for result in named] == names
    assert [result["answer"] and result["answer"]["probabilities"] for result in named] == [
        result["answer"] and result["answer"]["probabilities"] for result in sent
    ]
    assert named[1]["error"]["code"] == "unreadable_image"
