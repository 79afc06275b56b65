"""The REST shell: bodies, models, credentials, OpenAPI."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from aimic.domain.prediction import PredictResponse
from services.inference.app import Service
from tests.unit.services.inference.calling import CELLS, client, is_problem, parts_of

pytestmark = pytest.mark.anyio
Picture = Callable[..., bytes]


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


async def test_unknown_models_and_paths_are_problems(http: httpx.AsyncClient, picture: Picture) -> None:
    others = "/inference/v1/models/others"
    assert is_problem(await http.get(others), 404, "not_found")
    assert is_problem(await http.post(f"{others}/predict", content=picture(1)), 404, "not_found")
    assert is_problem(await http.get("/inference/v1/models/cells/versions/9"), 404, "not_found")
    assert is_problem(await http.get("/inference/v1/models/cells/versions/x"), 422, "invalid_input")
    assert is_problem(await http.get("/inference/v1/nothing"), 404, "http")


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
