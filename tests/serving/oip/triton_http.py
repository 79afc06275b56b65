"""Triton's HTTP clients, the one that blocks and the one for asyncio, as their documentation has them used."""

import asyncio
from typing import Any

import numpy as np
from tritonclient import http
from tritonclient.http import aio
from tritonclient.utils import InferenceServerException

from tests.serving.oip.asking import Job, job, refusal, tell, tensors, words


def images(values: Any, *, binary: bool = True) -> list[Any]:
    given = http.InferInput("images", list(values.shape), "BYTES")
    given.set_data_from_numpy(values, binary_data=binary)
    return [given]


def pixels(values: Any, *, binary: bool = True) -> list[Any]:
    given = http.InferInput("pixels", list(values.shape), "UINT8")
    given.set_data_from_numpy(values, binary_data=binary)
    return [given]


def wished(*names: str, **more: Any) -> list[Any]:
    return [http.InferRequestedOutput(name, **more) for name in names]


def blocking(asked: Job) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with http.InferenceServerClient(asked.rest, concurrency=3) as client:
        found["live"] = client.is_server_live()
        found["ready"] = client.is_server_ready()
        found["model ready"] = client.is_model_ready("cells", headers=asked.headers)
        found["version ready"] = client.is_model_ready("cells", "1", headers=asked.headers)
        found["unknown ready"] = client.is_model_ready("others", headers=asked.headers)
        found["server"] = client.get_server_metadata(headers=asked.headers)
        found["model"] = client.get_model_metadata("cells", headers=asked.headers)

        def infer(inputs: list[Any], **more: Any) -> dict[str, Any]:
            result = client.infer("cells", inputs, headers=dict(asked.headers), **more)
            return {"said": result.get_response(), **tensors(result.as_numpy)}

        column = asked.elements.reshape(-1, 1)
        names = ("probabilities", "label")
        found["answers"] = {
            "binary": infer(images(asked.elements), request_id="mine"),
            "a column": infer(images(column)),
            "a version": infer(images(asked.elements), model_version="1"),
            "JSON in": infer(images(asked.texts, binary=False)),
            "JSON out": infer(images(asked.elements), outputs=wished(*names, binary_data=False)),
            "chosen outputs": infer(images(asked.elements), outputs=wished(*names)),
            "pixels": infer(pixels(asked.pixels)),
            "pixels in JSON": infer(pixels(asked.pixels, binary=False)),
            "a timeout of 60 s": infer(images(asked.elements), timeout=60_000_000),
        }
        for packed in ("gzip", "deflate"):
            how = {"request_compression_algorithm": packed, "response_compression_algorithm": packed}
            found["answers"][packed] = infer(images(asked.elements), **how)
            many = np.concatenate([asked.elements] * 20)
            found["answers"][f"{packed}, long"] = infer(images(many), **how)
        found["ranked"] = infer(images(asked.elements), outputs=wished("probabilities", class_count=2))["probabilities"]
        calls = [client.async_infer("cells", images(asked.elements), headers=dict(asked.headers)) for _ in range(3)]
        for number, call in enumerate(calls):
            found["answers"][f"together {number}"] = tensors(call.get_result().as_numpy)
        found["refusals"] = refusals(client, asked)
    return found


def refusals(client: Any, asked: Job) -> dict[str, list[str]]:
    def refused(name: str, values: Any, **more: Any) -> list[str]:
        return refusal(
            lambda: client.infer(name, images(values), **({"headers": dict(asked.headers)} | more)),
            InferenceServerException,
        )

    bad = np.array([asked.files[0], b"no image", asked.files[1]], np.object_)
    return {
        "bad image": refused("cells", bad),
        "unknown model": refused("others", asked.elements),
        "unknown version": refused("cells", asked.elements, model_version="9"),
        "unknown output": refused("cells", asked.elements, outputs=wished("scores")),
        "no key": refused("cells", asked.elements, headers=None),
        "no time": refused("cells", np.concatenate([asked.elements] * 20), timeout=1000),
        "another extension": refusal(
            lambda: client.get_model_config("cells", headers=asked.headers), InferenceServerException
        ),
    }


async def asynchronous(asked: Job) -> dict[str, Any]:
    async with aio.InferenceServerClient(asked.rest) as client:
        found: dict[str, Any] = {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model ready": await client.is_model_ready("cells", headers=asked.headers),
            "server": await client.get_server_metadata(headers=asked.headers),
            "model": await client.get_model_metadata("cells", headers=asked.headers),
        }

        async def infer(inputs: list[Any], **more: Any) -> dict[str, Any]:
            result = await client.infer("cells", inputs, headers=dict(asked.headers), **more)
            return tensors(result.as_numpy)

        long = images(np.concatenate([asked.elements] * 20))
        plain, pixel, packed = await asyncio.gather(
            infer(images(asked.elements)),
            infer(pixels(asked.pixels)),
            infer(long, request_compression_algorithm="gzip"),  # and aiohttp itself accepts a packed answer
        )
        found["answers"] = {"binary": plain, "pixels": pixel, "gzip, long": packed}
        try:
            await infer(images(np.array([b"no image"], np.object_)))
        except InferenceServerException as error:
            found["bad image"] = words(error)
    return found


if __name__ == "__main__":
    given = job()
    tell({"blocking": blocking(given), "asyncio": asyncio.run(asynchronous(given))})
