"""The protocol by REST: JSON and binary tensors both ways, metadata, health, credentials, OpenAPI."""

import gzip
import io
import json
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from pydantic import SecretStr

from services.inference.app import Service
from services.inference.oip import models
from tests.unit.services.inference.calling import client
from tests.unit.services.inference.oip.talking import (
    CLASSES,
    INFER,
    LENGTH,
    asking,
    base64_of,
    behind_lengths,
    binary,
    is_error,
    tensors_of,
)

pytestmark = pytest.mark.anyio
Picture = Callable[..., bytes]


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
