"""Answers are asked for once, and troubles that pass are not remembered."""

import httpx

from aimic.client import Client, Retry
from aimic.domain.model import ModelVersion
from services.dashboard.pages.classifying import answers
from services.dashboard.views import predictions as view

ANSWER = {
    "label": "basophil",
    "probabilities": {"basophil": 1.0},
    "model": "blood-mobilenet_v2",
    "version": 1,
    "bundle_hash": "b" * 64,
    "executor": "e",
    "request_id": "r",
}


def test_a_trouble_that_passes_is_not_remembered(model: ModelVersion) -> None:
    # The first request holds 32 images, the second the last one, which finds the service busy once.
    images = tuple((f"{n}.png", b"x") for n in range(33))
    requests: list[int] = []

    def serve(request: httpx.Request) -> httpx.Response:
        requests.append(request.content.count(b"filename="))
        if len(requests) == 2:
            return httpx.Response(429, json={"code": "overloaded", "detail": "Too busy."})
        results = [{"index": n, "answer": ANSWER} for n in range(requests[-1])]
        body = {"model": model.name, "version": 1, "request_id": "r", "results": results}
        return httpx.Response(200, json=body)

    http = httpx.Client(transport=httpx.MockTransport(serve))
    client = Client("http://localhost", retry=Retry(attempts=1), http=http)
    assert view.unanswered(answers(client, model, images)) == 1
    assert view.unanswered(answers(client, model, images)) == 0
    answers(client, model, images)
    assert requests == [32, 1, 32, 1]
