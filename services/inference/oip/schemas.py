"""The protocol's JSON."""

from typing import Annotated, Any

from pydantic import Field

from aimic.domain.base import Value
from services.inference.oip.inferring import LONGEST_ID

Parameters = dict[str, Any]
Size = Annotated[int, Field(ge=0, lt=2**63)]


class RequestInput(Value):
    """An input tensor; its contents follow the JSON when `binary_data_size` is among the parameters."""

    name: str
    shape: tuple[Size, ...] = Field(max_length=8)
    datatype: str
    parameters: Parameters = {}
    data: list[Any] | None = None
    """Row by row, nested or flat. Elements of BYTES in base64 (RFC 4648 §4)."""


class RequestOutput(Value):
    """An output that is asked for."""

    name: str
    parameters: Parameters = {}


class InferRequest(Value):
    """An inference."""

    id: str = Field("", max_length=LONGEST_ID)
    parameters: Parameters = {}
    inputs: tuple[RequestInput, ...] = Field(max_length=16)
    outputs: tuple[RequestOutput, ...] = Field((), max_length=64)


class ResponseOutput(Value):
    """An output tensor; its contents follow the JSON when `binary_data_size` is among the parameters."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: Parameters | None = None
    data: list[Any] | None = None
    """Flat, row by row. Elements of BYTES as text."""


class InferResponse(Value):
    """The answers to one request."""

    model_name: str
    model_version: str
    id: str | None = None
    parameters: dict[str, str]
    outputs: tuple[ResponseOutput, ...]


class ProtocolError(Value):
    """What went wrong, in a plain sentence; the rest is ours, for programs and for whoever helps."""

    error: str
    code: str
    request_id: str


class ServerMetadata(Value):
    """Who answers."""

    name: str
    version: str
    extensions: tuple[str, ...]


class TensorMetadata(Value):
    """A tensor that a model takes or gives; -1 where a size is free."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class ModelMetadata(Value):
    """A model."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


class Live(Value):
    """Whether the server answers."""

    live: bool


class Ready(Value):
    """Whether the server should get requests."""

    ready: bool


class ModelReady(Value):
    """Whether a model is in memory and answers."""

    name: str
    ready: bool
