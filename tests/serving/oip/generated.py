"""Clients generated from the protocol's specification by its working group: JSON by REST, typed contents by gRPC."""

import asyncio
from typing import Any

import grpc
import httpx
import numpy as np
from open_inference.grpc import protocol, service
from open_inference.openapi.client import AsyncOpenInferenceClient, OpenInferenceClient
from open_inference.openapi.errors import BadRequestError
from open_inference.openapi.types import InferenceRequest, RequestInput, RequestOutput

from tests.serving.oip.asking import Job, job, tell, tensors


def request(asked: Job, *, pixels: bool = False, **more: Any) -> InferenceRequest:
    if pixels:
        shape, data = list(asked.pixels.shape), asked.pixels.ravel().tolist()
        given = RequestInput(name="pixels", shape=shape, datatype="UINT8", data=data)
    else:
        texts = asked.texts.tolist()
        given = RequestInput(name="images", shape=[len(texts)], datatype="BYTES", data=texts)
    return InferenceRequest(inputs=[given], **more)


def outputs_of(response: Any) -> dict[str, Any]:
    found = {output.name: np.array(output.data.__root__, object).reshape(output.shape) for output in response.outputs}
    return tensors(found.get)


def rest(asked: Job) -> dict[str, Any]:
    with httpx.Client(headers=asked.headers, timeout=60) as http:
        client = OpenInferenceClient(base_url=f"http://{asked.rest}", httpx_client=http)
        client.check_server_liveness()
        client.check_server_readiness()
        client.check_model_readiness("cells")
        client.check_model_version_readiness("cells", "1")
        response = client.model_infer("cells", request=request(asked, id="mine"))
        chosen = request(asked, outputs=[RequestOutput(name="label"), RequestOutput(name="probabilities")])
        found: dict[str, Any] = {
            "server": client.read_server_metadata().dict(),
            "model": client.read_model_metadata("cells").dict(),
            "id": response.id,
            "answers": {
                "JSON": outputs_of(response),
                "chosen outputs": outputs_of(client.model_version_infer("cells", "1", request=chosen)),
                "pixels": outputs_of(client.model_infer("cells", request=request(asked, pixels=True))),
            },
        }
        try:
            client.model_infer("cells", request=InferenceRequest(inputs=[]))
        except BadRequestError as error:
            found["refused"] = [error.status_code, error.body]
    return found


async def rest_asynchronous(asked: Job) -> dict[str, Any]:
    async with httpx.AsyncClient(headers=asked.headers, timeout=60) as http:
        client = AsyncOpenInferenceClient(base_url=f"http://{asked.rest}", httpx_client=http)
        return outputs_of(await client.model_infer("cells", request=request(asked)))


def by_grpc(asked: Job) -> dict[str, Any]:
    metadata = tuple(asked.headers.items())
    with grpc.insecure_channel(asked.grpc) as channel:
        stub = service.GRPCInferenceServiceStub(channel)
        found: dict[str, Any] = {
            "live": stub.ServerLive(protocol.ServerLiveRequest(), timeout=60).live,
            "ready": stub.ServerReady(protocol.ServerReadyRequest(), timeout=60).ready,
        }
        given = protocol.ModelInferRequest.InferInputTensor(
            name="images",
            datatype="BYTES",
            shape=[len(asked.files)],
            contents=protocol.InferTensorContents(bytes_contents=asked.files),
        )
        pixels = protocol.ModelInferRequest.InferInputTensor(
            name="pixels",
            datatype="UINT8",
            shape=asked.pixels.shape,
            contents=protocol.InferTensorContents(uint_contents=asked.pixels.ravel().tolist()),
        )
        found["answers"] = {}
        for name, tensor in (("typed", given), ("typed pixels", pixels)):
            asks = protocol.ModelInferRequest(model_name="cells", id="mine", inputs=[tensor])
            response = stub.ModelInfer(asks, metadata=metadata, timeout=60)
            assert response.id == "mine" and not response.raw_output_contents
            values = {output.name: np.array(contents_of(output), object) for output in response.outputs}
            shaped = {output.name: values[output.name].reshape(tuple(output.shape)) for output in response.outputs}
            found["answers"][name] = tensors(shaped.get)
    return found


def contents_of(output: Any) -> list[Any]:
    fields = {"BYTES": "bytes_contents", "FP32": "fp32_contents", "BOOL": "bool_contents"}
    return list(getattr(output.contents, fields[output.datatype]))


if __name__ == "__main__":
    job_given = job()
    tell(
        {
            "rest": rest(job_given),
            "rest, asyncio": asyncio.run(rest_asynchronous(job_given)),
            "grpc": by_grpc(job_given),
        }
    )
