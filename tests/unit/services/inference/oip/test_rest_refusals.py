"""The protocol by REST when it can't answer: malformed requests, limits, deadlines, callers who leave."""

import asyncio
import gzip
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from services.inference.app import Service
from services.inference.deadline import Deadline
from services.inference.oip import bodies, compression, rest
from services.inference.rest.application import application
from tests.unit.services.inference.calling import Leaving, client
from tests.unit.services.inference.oip.talking import INFER, LENGTH, asking, behind_lengths, binary, is_error

pytestmark = pytest.mark.anyio
Picture = Callable[..., bytes]


async def test_a_bad_image_among_good_ones_fails_the_request_and_is_named(
    http: httpx.AsyncClient, picture: Picture
) -> None:
    answer = await http.post(INFER, json=asking(picture(1), b"no image", picture(2)))
    assert is_error(answer, 400, "Image 1 (counted from 0) of 3")
    answer = await http.post(INFER, json=asking(picture(1), b"\xff" * 150_000))
    assert is_error(answer, 413, "Image 1 (counted from 0) of 2")
    assert is_error(await http.post(INFER, json=asking(b"no image")), 400, "")


def _input(**changes: Any) -> dict[str, Any]:
    given = {"name": "images", "datatype": "BYTES", "shape": [1], "data": ["aGVsbG8="]} | changes
    return {"inputs": [{name: value for name, value in given.items() if value is not None}]}


MALFORMED: dict[str, tuple[Any, int, str]] = {
    "no JSON": (b"garbage", 400, "no inference request"),
    "not UTF-8": (b'{"id": "\xff"}', 400, "no inference request"),
    "a list": ([], 400, "no inference request"),
    "deep": (b'{"inputs":' + b"[" * 5000 + b"]" * 5000 + b"}", 400, "no inference request"),
    "a number beyond measure": (b'{"inputs":[],"x":' + b"9" * 100_000 + b"}", 400, "out of range"),
    "no inputs": ({}, 400, "inputs: Field required"),
    "two inputs": ({"inputs": _input()["inputs"] * 2}, 400, "2 inputs"),
    "long id": (_input() | {"id": "x" * 1025}, 400, "id: "),
    "no data": (_input(data=None), 400, "needs 'data' or 'binary_data_size'"),
    "no base64": (_input(data=["n@t base64"]), 400, "Image 0 is no base64"),
    "no ASCII": (_input(data=["größe"]), 400, "Image 0 is no base64"),
    "numbers for strings": (_input(data=[7]), 400, "are strings"),
    "nothing nested": (_input(data=[[], []]), 400, "makes 1 elements; 0 were sent"),
    "strings for numbers": (
        _input(name="pixels", datatype="UINT8", shape=[1, 1, 1, 3], data=["a", "b", "c"]), 400, "whole numbers",
    ),
    "fractions": (_input(name="pixels", datatype="UINT8", shape=[1, 1, 1, 3], data=[0, 0.5, 1]), 400, "whole numbers"),
    "truths": (_input(name="pixels", datatype="UINT8", shape=[1, 1, 1, 3], data=[True, 0, 1]), 400, "whole numbers"),
    "negative size": (_input(shape=[-1]), 400, "shape.0"),
    "size beyond measure": (
        _input(name="pixels", datatype="UINT8", shape=[1, 10**4000, 10**4000, 3], data=[1]), 400, "shape.1",
    ),
    "infinite values": (
        b'{"inputs":[{"name":"pixels","datatype":"UINT8","shape":[1,1,1,3],"data":[1e999,NaN,1]}]}', 400, "whole",
    ),
    "shared memory": (_input(data=None, parameters={"shared_memory_region": "x"}), 400, "shared memory"),
    "shared memory out": (
        _input() | {"outputs": [{"name": "label", "parameters": {"shared_memory_region": "x"}}]}, 400, "shared memory",
    ),
    "unknown output": (_input() | {"outputs": [{"name": "scores"}]}, 400, "no output 'scores'"),
    "senseless timeout": (_input() | {"parameters": {"timeout": 0}}, 400, "microseconds"),
    "endless timeout": (_input() | {"parameters": {"timeout": "9"}}, 400, "microseconds"),
    "timeout beyond all numbers": (_input() | {"parameters": {"timeout": 10**400}}, 400, "microseconds"),
    "senseless binary": (_input() | {"parameters": {"binary_data_output": 1}}, 400, "true or false"),
    "too many": (_input(shape=[21], data=["aGVsbG8="] * 21), 413, "at most 20"),
    "size without header": (_input(data=None, parameters={"binary_data_size": 5}), 400, "0 bytes follow the JSON"),
    "both": (_input(parameters={"binary_data_size": 5}), 400, "needs 'data' or"),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
async def test_what_is_no_request_is_refused_in_the_protocols_form(http: httpx.AsyncClient, case: str) -> None:
    body, status, words = MALFORMED[case]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert is_error(await http.post(INFER, content=content), status, words)


@pytest.mark.parametrize("length", ["-1", "x", "100000", "9" * 40, "³", "1.5"])
async def test_a_json_length_that_is_none_is_refused(http: httpx.AsyncClient, picture: Picture, length: str) -> None:
    body, _ = binary(asking(picture(1)), behind_lengths(picture(1)))
    answer = await http.post(INFER, content=body, headers={LENGTH.encode(): length.encode("utf-8")})
    assert is_error(answer, 400, "")


@pytest.mark.parametrize("size", [0, -1, 10, 10**12, True, "12", 1.5, None])
async def test_a_binary_size_that_is_wrong_is_refused(http: httpx.AsyncClient, size: Any) -> None:
    text = json.dumps(_input(data=None, parameters={"binary_data_size": size})).encode()
    answer = await http.post(INFER, content=text + b"x" * 12, headers={LENGTH: str(len(text))})
    assert is_error(answer, 400, "")


async def test_json_that_would_fill_the_memory_is_refused_unread(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "MOST_JSON", 1000)
    given = _input(name="pixels", datatype="UINT8", shape=[1, 20, 20, 3], data=[0] * 1200)
    assert is_error(await http.post(INFER, json=given), 413, "binary form")


async def test_more_texts_than_images_are_refused_before_any_is_decoded(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    monkeypatch.setattr(bodies, "_decoded", lambda _, text: decoded.append(text))
    answer = await http.post(INFER, json=_input(shape=[1], data=["aA=="] * 3000))
    assert is_error(answer, 400, "makes 1 elements; 3000 were sent") and not decoded


@pytest.mark.parametrize("packed", [False, True])
async def test_two_large_bodies_at_most_are_read_at_once_even_if_nobody_waits_for_them_any_more(
    http: httpx.AsyncClient, picture: Picture, monkeypatch: pytest.MonkeyPatch, until: Any, packed: bool
) -> None:
    lock, now, counts = threading.Lock(), 0, [0]

    def slowly(work: Callable[..., Any]) -> Callable[..., Any]:
        def read(*arguments: Any) -> Any:
            nonlocal now
            with lock:
                now += 1
                counts.append(now)
            time.sleep(0.05)
            with lock:
                now -= 1
            return work(*arguments)

        return read

    if packed:
        monkeypatch.setattr(compression, "unpacked", slowly(compression.unpacked))
    else:
        monkeypatch.setattr(rest, "SMALL", 0)
        monkeypatch.setattr(rest, "asked_of", slowly(bodies.asked_of))
    body = json.dumps(asking(picture(1))).encode()
    coding = {"content-encoding": "gzip"} if packed else {}
    content = gzip.compress(body) if packed else body
    hasty = [http.post(INFER, content=content, headers=coding | {"x-deadline-ms": "20"}) for _ in range(4)]
    assert {answer.status_code for answer in await asyncio.gather(*hasty)} <= {504, 429}
    answers = await asyncio.gather(*(http.post(INFER, content=content, headers=coding) for _ in range(4)))
    assert {answer.status_code for answer in answers} == {200}
    await until(lambda: now == 0)
    assert max(counts) <= 2


async def test_packed_and_plain_bodies_beyond_the_limit_are_refused(http: httpx.AsyncClient, parts: Service) -> None:
    assert is_error(await http.post(INFER, content=b"x" * 500_000), 413, "at most")
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < 100_000
    assert is_error(await http.post(INFER, content=bomb, headers={"content-encoding": "gzip"}), 413, "Unpacked")
    assert is_error(await http.post(INFER, content=b"x", headers={"content-encoding": "br"}), 400, "encoding 'br'")
    assert is_error(await http.post(INFER, content=b"x", headers={"content-encoding": "gzip"}), 400, "gzip")


async def test_what_is_unpacked_counts_among_the_bytes_held(
    http: httpx.AsyncClient, parts: Service, picture: Picture
) -> None:
    settings = parts.settings.model_copy(update={"inference_body_bytes": 150_000})
    body = gzip.compress(json.dumps(asking(picture(1)) | {"ignored": " " * 200_000}).encode())
    async with client(parts, settings) as tight:
        for _ in range(2):  # nothing is left behind by the first
            answer = await tight.post(INFER, content=body, headers={"content-encoding": "gzip"})
            assert is_error(answer, 429, "at once") and int(answer.headers["retry-after"]) >= 1
        assert (await tight.post(INFER, json=asking(picture(1)))).status_code == 200


@pytest.mark.parametrize("way", ["header", "parameter"])
async def test_a_deadline_that_passes_is_told(http: httpx.AsyncClient, picture: Picture, way: str) -> None:
    request = asking(*(picture(number) for number in range(20)))
    headers = {"x-deadline-ms": "1"} if way == "header" else {}
    if way == "parameter":
        request["parameters"] = {"timeout": 1000}
    assert is_error(await http.post(INFER, json=request, headers=headers), 504, "deadline")


async def test_a_caller_who_hangs_up_ends_the_work(parts: Service, picture: Picture, until: Any) -> None:
    model = parts.plane.catalogue.resolve("local", "cells", 1).model
    assert model is not None
    caller = Leaving(INFER, *binary(asking(picture(1)), behind_lengths(picture(1))))
    model.batcher._window_s, before = 60.0, model.batcher._window_s
    try:
        with model.batcher.job(1, Deadline.after(60)):  # another image seems to be on its way, so this one waits for it
            call = asyncio.ensure_future(caller.ask(application(parts.settings, parts.plane)))
            await until(lambda: len(model.batcher._ring))
            caller.leave.set()
            await asyncio.wait_for(call, 20)
    finally:
        model.batcher._window_s = before
    assert caller.status == 499 and model.in_use == 0
