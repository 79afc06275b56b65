"""Between the messages of inference.GRPCInferenceService and what they ask and answer."""

from collections.abc import Mapping
from typing import Any

from aimic.errors import InvalidInputError
from aimic.rpc.oip import open_inference_grpc_pb2 as wire
from services.inference.dataplane import Image
from services.inference.oip import tensors
from services.inference.oip.inferring import (
    LONGEST_ID,
    Asked,
    Inferred,
    refuse_shared_memory,
    timeout_of,
    wish_of,
)
from services.inference.oip.models import IMAGES, ModelInfo, TensorInfo
from services.inference.oip.outputs import Output
from services.inference.oip.tensors import Declared

_CONTENTS = {"BYTES": "bytes_contents", "FP32": "fp32_contents", "BOOL": "bool_contents"}
"""The datatypes that we answer in, and where their values go."""


def asked_of(request: wire.ModelInferRequest, most: int) -> Asked:
    """What a request asks, with `most` images at most. InvalidInputError, or TooLargeError beyond a limit."""
    if len(request.id) > LONGEST_ID:
        raise InvalidInputError(f"The id of a request has {LONGEST_ID} characters at most.")
    given: wire.ModelInferRequest.InferInputTensor = tensors.only(request.inputs)
    refuse_shared_memory(_values(given.parameters))
    declared = Declared(given.name, given.datatype, tuple(given.shape))
    return Asked(
        request.id,
        _images(request, given, declared, most),
        tuple(wish_of(output.name, _values(output.parameters)) for output in request.outputs),
        binary=bool(request.raw_input_contents),
        timeout_s=timeout_of(_values(request.parameters)),
    )


def response_of(inferred: Inferred, *, raw: bool) -> wire.ModelInferResponse:
    """The response, its tensors in raw_output_contents or typed, as the request's were."""
    return wire.ModelInferResponse(
        model_name=inferred.model,
        model_version=inferred.version,
        id=inferred.id,
        parameters={name: wire.InferParameter(string_param=text) for name, text in inferred.parameters.items()},
        outputs=[_described(output, typed=not raw) for output in inferred.outputs],
        raw_output_contents=[output.raw() for output in inferred.outputs] if raw else (),
    )


def metadata_of(info: ModelInfo) -> wire.ModelMetadataResponse:
    """What a client is told of a model."""
    return wire.ModelMetadataResponse(
        name=info.name,
        versions=info.versions,
        platform=info.platform,
        inputs=map(_tensor, info.inputs),
        outputs=map(_tensor, info.outputs),
    )


def _images(
    request: wire.ModelInferRequest, given: wire.ModelInferRequest.InferInputTensor, declared: Declared, most: int
) -> list[Image]:
    if request.raw_input_contents:
        if given.HasField("contents") or len(request.raw_input_contents) != 1:
            raise InvalidInputError(
                "With raw_input_contents there is one entry for the one input, and the input has no contents itself."
            )
        return tensors.from_raw(declared, request.raw_input_contents[0], most)
    if declared.name == IMAGES:
        return tensors.from_elements(declared, given.contents.bytes_contents, most)
    return tensors.from_values(declared, given.contents.uint_contents, most)


def _described(output: Output, *, typed: bool) -> wire.ModelInferResponse.InferOutputTensor:
    described = wire.ModelInferResponse.InferOutputTensor(
        name=output.name, datatype=output.datatype, shape=output.shape
    )
    if typed:
        values = output.values if isinstance(output.values, list) else output.values.ravel().tolist()
        getattr(described.contents, _CONTENTS[output.datatype]).extend(values)
    return described


def _tensor(tensor: TensorInfo) -> wire.ModelMetadataResponse.TensorMetadata:
    return wire.ModelMetadataResponse.TensorMetadata(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)


def _values(parameters: Mapping[str, wire.InferParameter]) -> dict[str, Any]:
    return {
        name: getattr(value, which) if (which := value.WhichOneof("parameter_choice")) else None
        for name, value in parameters.items()
    }
