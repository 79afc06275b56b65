"""Triton's gRPC clients, the one that blocks and the one for asyncio, as their documentation has them used."""

import asyncio
import queue
from typing import Any

import numpy as np
from tritonclient import grpc
from tritonclient.grpc import aio
from tritonclient.utils import InferenceServerException

from tests.serving.oip.asking import Job, job, refusal, tell, tensors, words


def images(values: Any) -> list[Any]:
    return [grpc.InferInput("images", list(values.shape), "BYTES").set_data_from_numpy(values)]


def pixels(values: Any) -> list[Any]:
    return [grpc.InferInput("pixels", list(values.shape), "UINT8").set_data_from_numpy(values)]


def wished(*names: str, **more: Any) -> list[Any]:
    return [grpc.InferRequestedOutput(name, **more) for name in names]


def blocking(asked: Job) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with grpc.InferenceServerClient(asked.grpc) as client:
        found["live"] = client.is_server_live()
        found["ready"] = client.is_server_ready()
        found["model ready"] = client.is_model_ready("cells", headers=asked.headers)
        found["version ready"] = client.is_model_ready("cells", "1", headers=asked.headers)
        found["server"] = client.get_server_metadata(headers=asked.headers, as_json=True)
        found["model"] = client.get_model_metadata("cells", headers=asked.headers, as_json=True)

        def infer(inputs: list[Any], **more: Any) -> dict[str, Any]:
            result = client.infer("cells", inputs, headers=asked.headers, **more)
            return {"said": result.get_response(as_json=True), **tensors(result.as_numpy)}

        found["answers"] = {
            "raw": infer(images(asked.elements), request_id="mine"),
            "a column": infer(images(asked.elements.reshape(-1, 1))),
            "a version": infer(images(asked.elements), model_version="1"),
            "chosen outputs": infer(images(asked.elements), outputs=wished("probabilities", "label")),
            "pixels": infer(pixels(asked.pixels)),
            "gzip": infer(images(asked.elements), compression_algorithm="gzip"),
            "deflate": infer(images(asked.elements), compression_algorithm="deflate"),
            "a timeout of 60 s": infer(images(asked.elements), timeout=60_000_000, client_timeout=60),
        }
        found["ranked"] = infer(images(asked.elements), outputs=wished("probabilities", class_count=2))["probabilities"]
        found["answers"]["called back"] = called_back(client, asked)
        found["refusals"] = refusals(client, asked)
    return found


def called_back(client: Any, asked: Job) -> dict[str, Any]:
    heard: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.async_infer(
        "cells", images(asked.elements), lambda result, error: heard.put((result, error)), headers=asked.headers
    )
    result, error = heard.get(timeout=60)
    assert error is None, error
    return tensors(result.as_numpy)


def refusals(client: Any, asked: Job) -> dict[str, list[str]]:
    def refused(name: str, values: Any, **more: Any) -> list[str]:
        return refusal(
            lambda: client.infer(name, images(values), **({"headers": asked.headers} | more)),
            InferenceServerException,
        )

    many = np.concatenate([asked.elements] * 20)
    bad = np.array([asked.files[0], b"no image", asked.files[1]], np.object_)
    return {
        "bad image": refused("cells", bad),
        "unknown model": refused("others", asked.elements),
        "unknown version": refused("cells", asked.elements, model_version="9"),
        "unknown output": refused("cells", asked.elements, outputs=wished("scores")),
        "no key": refused("cells", asked.elements, headers=None),
        "no time": refused("cells", many, timeout=1000),
        "no time for the client": refused("cells", many, client_timeout=0.005),
        "another extension": refusal(
            lambda: client.get_model_config("cells", headers=asked.headers), InferenceServerException
        ),
        "unknown ready": refusal(
            lambda: client.is_model_ready("others", headers=asked.headers), InferenceServerException
        ),
    }


async def asynchronous(asked: Job) -> dict[str, Any]:
    async with aio.InferenceServerClient(asked.grpc) as client:
        found: dict[str, Any] = {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model ready": await client.is_model_ready("cells", headers=asked.headers),
            "server": await client.get_server_metadata(headers=asked.headers, as_json=True),
            "model": await client.get_model_metadata("cells", headers=asked.headers, as_json=True),
        }

        async def infer(inputs: list[Any], **more: Any) -> dict[str, Any]:
            return tensors((await client.infer("cells", inputs, headers=asked.headers, **more)).as_numpy)

        plain, pixel, packed = await asyncio.gather(
            infer(images(asked.elements)),
            infer(pixels(asked.pixels)),
            infer(images(asked.elements), compression_algorithm="gzip"),
        )
        found["answers"] = {"raw": plain, "pixels": pixel, "gzip": packed}
        try:
            await infer(images(np.array([b"no image"], np.object_)))
        except InferenceServerException as error:
            found["bad image"] = words(error)
    return found


if __name__ == "__main__":
    given = job()
    tell({"blocking": blocking(given), "asyncio": asyncio.run(asynchronous(given))})
