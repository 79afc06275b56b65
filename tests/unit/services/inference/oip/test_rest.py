"""The protocol by REST: JSON and binary tensors both ways, metadata, health, limits, errors in its own form."""

import asyncio
import base64
import gzip
import io
import json
import struct
import threading
import time
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from pydantic import SecretStr

from services.inference.app import Service
from services.inference.deadline import Deadline
from services.inference.oip import bodies, compression, models, rest
from services.inference.rest.application import application
from services.inference.settings import Settings

pytestmark = pytest.mark.anyio
Picture = Callable[..., bytes]
CLASSES = ["round", "lobed", "granular"]
INFER = "/v2/models/cells/infer"
LENGTH = "inference-header-content-length"


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


def client(parts: Service, settings: Settings, *, ready: bool = True) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(application(settings, parts.plane, lambda: ready))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers={"accept-encoding": "identity"})


def base64_of(*images: bytes) -> list[str]:
    return [base64.b64encode(image).decode() for image in images]


def asking(*images: bytes, **more: Any) -> dict[str, Any]:
    given = {"name": "images", "datatype": "BYTES", "shape": [len(images)], "data": base64_of(*images)}
    return {"inputs": [given], **more}


def binary(request: dict[str, Any], raw: bytes) -> tuple[bytes, dict[str, str]]:
    """A body with a binary tensor, and its headers."""
    request["inputs"][0] |= {"parameters": {"binary_data_size": len(raw)}}
    request["inputs"][0].pop("data", None)
    text = json.dumps(request).encode()
    return text + raw, {LENGTH: str(len(text)), "content-type": "application/octet-stream"}


def behind_lengths(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def tensors_of(answer: httpx.Response) -> dict[str, Any]:
    """The outputs of a response, in either form, by name."""
    length = int(answer.headers.get(LENGTH, len(answer.content)))
    found, rest = {}, answer.content[length:]
    for output in json.loads(answer.content[:length])["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            values = output["data"]
        else:
            raw, rest = rest[:size], rest[size:]
            values = elements_of(raw) if output["datatype"] == "BYTES" else numbers_of(raw, output["datatype"])
        found[output["name"]] = np.array(values, object).reshape(output["shape"]).tolist()
    assert not rest
    return found


def elements_of(raw: bytes) -> list[str]:
    found = []
    while raw:
        end = 4 + struct.unpack_from("<I", raw)[0]
        found.append(raw[4:end].decode())
        raw = raw[end:]
    return found


def numbers_of(raw: bytes, datatype: str) -> list[Any]:
    return list(np.frombuffer(raw, {"FP32": "<f4", "BOOL": "?"}[datatype]).tolist())


def is_error(answer: httpx.Response, status: int, words: str) -> bool:
    assert answer.headers["content-type"] == "application/json" and answer.headers["x-request-id"]
    body = answer.json()
    assert list(body) == ["error", "code", "request_id"]
    assert words in body["error"] and body["code"] and body["request_id"] == answer.headers["x-request-id"], body
    return answer.status_code == status


async def test_json_in_and_out(http: httpx.AsyncClient, picture: Picture, export: Any) -> None:
    images = [picture(1), picture(2)]
    answer = await http.post(INFER, json=asking(*images, id="mine"), headers={"x-request-id": "r"})
    said = answer.json()
    assert (said["id"], said["model_name"], said["model_version"]) == ("mine", "cells", "1")
    assert said["parameters"] == {
        "bundle_hash": export(1).hash,
        "executor": "torch-eager-fp32-cpu",
        "class_mix": "training",
        "request_id": "r",
    }
    shapes = {output["name"]: (output["datatype"], output["shape"]) for output in said["outputs"]}
    assert shapes == {
        "label": ("BYTES", [2]),
        "probabilities": ("FP32", [2, 3]),
        "abstained": ("BOOL", [2]),
        "reason": ("BYTES", [2]),
        "classes": ("BYTES", [3]),
    }
    found = tensors_of(answer)
    assert (found["classes"], found["abstained"], found["reason"]) == (CLASSES, [False, False], ["", ""])
    for number, image in enumerate(images):
        ours = (await http.post("/inference/v1/models/cells/predict", content=image)).json()["results"][0]["answer"]
        assert found["label"][number] == ours["label"]
        expected = [ours["probabilities"][label] for label in CLASSES]
        assert found["probabilities"][number] == pytest.approx(expected, abs=1e-5)


async def test_every_form_of_the_same_request_gets_the_same_answer(http: httpx.AsyncClient, picture: Picture) -> None:
    image = picture(3)
    plain = tensors_of(await http.post(INFER, json=asking(image)))
    nested = asking(image)
    nested["inputs"][0] |= {"shape": [1, 1], "data": [base64_of(image)]}
    body, headers = binary(asking(image, parameters={"binary_data_output": True}), behind_lengths(image))
    answers = [
        await http.post(INFER, json=nested),
        await http.post("/v2/models/cells/versions/1/infer", json=asking(image)),
        await http.post(INFER, content=body, headers=headers),
        await http.post(INFER, content=gzip.compress(body), headers=headers | {"content-encoding": "gzip"}),
        await http.post(INFER, content=zlib.compress(body), headers=headers | {"content-encoding": "deflate"}),
        await http.post(INFER, content=image, headers={LENGTH: "0"}),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        found = tensors_of(answer)
        assert found.pop("probabilities")[0] == pytest.approx(plain["probabilities"][0], abs=1e-5)
        assert found == {name: values for name, values in plain.items() if name != "probabilities"}


async def test_decoded_pixels_are_answered_as_the_file_they_come_from(
    http: httpx.AsyncClient, picture: Picture
) -> None:
    image = picture(4, side=64)  # the network's size: no resizing hides a wrong order of axes
    pixels = np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))[None]
    given = {"name": "pixels", "datatype": "UINT8", "shape": list(pixels.shape)}
    expected = tensors_of(await http.post(INFER, json=asking(image)))["probabilities"]
    body, headers = binary({"inputs": [dict(given)]}, pixels.tobytes())
    for answer in (
        await http.post(INFER, json={"inputs": [given | {"data": pixels.tolist()}]}),
        await http.post(INFER, json={"inputs": [given | {"data": pixels.ravel().tolist()}]}),
        await http.post(INFER, json={"inputs": [given | {"data": pixels.ravel().astype(float).tolist()}]}),
        await http.post(INFER, content=body, headers=headers),
    ):
        assert answer.status_code == 200, answer.text
        assert tensors_of(answer)["probabilities"][0] == pytest.approx(expected[0], abs=1e-5)


async def test_outputs_come_as_they_were_asked_for(http: httpx.AsyncClient, picture: Picture) -> None:
    wishes = [
        {"name": "probabilities", "parameters": {"classification": 1}},
        {"name": "label", "parameters": {"binary_data": False}},
    ]
    request = asking(picture(1), outputs=wishes, parameters={"binary_data_output": True})
    answer = await http.post(INFER, json=request)
    said = json.loads(answer.content[: int(answer.headers[LENGTH])])
    assert [output["name"] for output in said["outputs"]] == ["probabilities", "label"]
    assert "data" in said["outputs"][1] and "data" not in said["outputs"][0]
    found = tensors_of(answer)
    chance, index, label = found["probabilities"][0][0].split(":")
    assert label == found["label"][0] == CLASSES[int(index)] and float(chance) > 1 / 3


async def test_a_long_answer_is_packed_for_who_accepts_it(http: httpx.AsyncClient, picture: Picture) -> None:
    request = asking(*[picture(1)] * 20, parameters={"binary_data_output": True})
    plain = await http.post(INFER, json=request)
    for encoding in ("gzip", "deflate"):
        packed = await http.post(INFER, json=request, headers={"accept-encoding": encoding})
        assert packed.headers["content-encoding"] == encoding  # httpx has unpacked it
        assert packed.headers[LENGTH] == str(len(json.dumps(_said(packed), separators=(",", ":"))))
        assert tensors_of(packed)["label"] == tensors_of(plain)["label"]
    assert "content-encoding" not in plain.headers
    metadata = await http.get("/v2/models/cells", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in metadata.headers  # clients of the protocol unpack inferences only


def _said(answer: httpx.Response) -> Any:
    return json.loads(answer.content[: int(answer.headers[LENGTH])])


async def test_metadata_and_readiness(http: httpx.AsyncClient, picture: Picture) -> None:
    server = (await http.get("/v2")).json()
    assert server == {
        "name": "aimic",
        "version": models.VERSION,
        "extensions": ["binary_tensor_data", "classification"],
    }
    assert (await http.get("/v2/")).json() == server
    model = (await http.get("/v2/models/cells")).json()
    assert (model["name"], model["versions"], model["platform"]) == ("cells", ["1", "2"], "aimic_bundle")
    assert model["inputs"] == [
        {"name": "images", "datatype": "BYTES", "shape": [-1]},
        {"name": "pixels", "datatype": "UINT8", "shape": [-1, -1, -1, 3]},
    ]
    assert {output["name"]: output["shape"] for output in model["outputs"]}["probabilities"] == [-1, 3]
    assert (await http.get("/v2/models/cells/ready")).json() == {"name": "cells", "ready": True}
    later = "/v2/models/cells/versions/2"
    before = await http.get(f"{later}/ready")
    assert (before.status_code, before.json()["ready"]) == (503, False)
    assert (await http.get(later)).json()["outputs"][1]["shape"] == [-1, -1]
    assert (await http.post(f"{later}/infer", json=asking(picture(1)))).json()["model_version"] == "2"
    assert (await http.get(f"{later}/ready")).status_code == 200
    assert (await http.get(later)).json()["outputs"][1]["shape"] == [-1, 3]


async def test_health(parts: Service) -> None:
    for ready, status in ((True, 200), (False, 503)):
        async with client(parts, parts.settings, ready=ready) as http:
            live, found = await http.get("/v2/health/live"), await http.get("/v2/health/ready")
        assert (live.status_code, live.json()) == (200, {"live": True})
        assert (found.status_code, found.json()) == (status, {"ready": ready})


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
    app = application(parts.settings, parts.plane)
    model = parts.plane.catalogue.resolve("local", "cells", 1).model
    assert model is not None
    hang_up = asyncio.Event()
    body, headers = binary(asking(picture(1)), behind_lengths(picture(1)))
    coming = [{"type": "http.request", "body": body, "more_body": False}]
    statuses: list[int] = []

    async def receive() -> Any:
        if coming:
            return coming.pop()
        await hang_up.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        statuses.append(message.get("status", 0))

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": INFER, "query_string": b"", "headers": raw}
    model.batcher._window_s, before = 60.0, model.batcher._window_s
    try:
        with model.batcher.job(1, Deadline.after(60)):  # another image seems to be on its way, so this one waits for it
            call = asyncio.ensure_future(app(scope, receive, send))
            await until(lambda: len(model.batcher._ring))
            hang_up.set()
            await asyncio.wait_for(call, 20)
    finally:
        model.batcher._window_s = before
    assert statuses[0] == 499 and model.in_use == 0


async def test_unknown_models_versions_and_paths_are_told_in_the_protocols_form(http: httpx.AsyncClient) -> None:
    for path in ("/v2/models/others", "/v2/models/others/ready", "/v2/models/cells/versions/9"):
        assert is_error(await http.get(path), 404, "There is no")
    for version in ("x", "-1", "1.0", "9" * 30, "²"):
        assert is_error(await http.get(f"/v2/models/cells/versions/{version}"), 404, "There is no version")
    assert is_error(await http.post("/v2/models/others/infer", json=asking(b"x")), 404, "There is no")
    assert is_error(await http.get("/v2/models/cells/config"), 404, "There is no /v2/models/cells/config")
    assert is_error(await http.post("/v2/repository/index"), 404, "There is no /v2/repository/index")
    assert is_error(await http.get(INFER), 404, "not by this method")


async def test_every_path_but_health_asks_who_calls(parts: Service, picture: Picture) -> None:
    settings = parts.settings.model_copy(update={"api_key": SecretStr("secret")})
    async with client(parts, settings) as http:
        paths = (await http.get("/inference/v1/openapi.json")).json()["paths"]
        asked = 0
        for path in [path for path in paths if path.startswith("/v2")] + ["/v2/nothing"]:
            for method in paths.get(path, ("get", "post")):
                answer = await http.request(method, path.format(name="cells", version=1), content=b"x")
                asked += 1
                if path.startswith("/v2/health/"):
                    assert answer.status_code == 200
                else:
                    assert is_error(answer, 401, "API key"), (method, path)
        assert asked == 11
        http.headers["authorization"] = "Bearer secret"
        assert (await http.post(INFER, json=asking(picture(1)))).status_code == 200


async def test_without_a_key_foreign_pages_are_refused(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v2/models/cells", headers={"origin": "http://elsewhere.example"})
    assert is_error(answer, 403, "this machine only")


async def test_openapi_describes_the_protocol(http: httpx.AsyncClient) -> None:
    document = (await http.get("/inference/v1/openapi.json")).json()
    operation = document["paths"]["/v2/models/{name}/versions/{version}/infer"]["post"]
    assert set(operation["requestBody"]["content"]) == {"application/json", "application/octet-stream"}
    assert {"400", "401", "404", "413", "429", "503", "504"} <= operation["responses"].keys()
    assert operation["responses"]["400"]["content"]["application/json"]["schema"]["$ref"].endswith("/ProtocolError")
    assert operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("InferResponse")
