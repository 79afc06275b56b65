"""Between bodies of the protocol's REST form and what it asks and answers: JSON, and binary tensors behind it.

The binary form is the extension `binary_tensor_data`: the header Inference-Header-Content-Length says where the JSON
ends, and each tensor with the parameter `binary_data_size` takes so many of the bytes behind it, in order.
"""

import base64
import binascii
import json
from typing import Any

from pydantic import ValidationError

from aimic.errors import InvalidInputError, TooLargeError
from services.inference.dataplane import Image
from services.inference.oip import tensors
from services.inference.oip.inferring import Asked, Inferred, refuse_shared_memory, timeout_of, wish_of
from services.inference.oip.models import IMAGES
from services.inference.oip.outputs import Output
from services.inference.oip.schemas import InferRequest, RequestInput
from services.inference.oip.tensors import Declared

MOST_JSON = 2**22
"""Commas and brackets of a request's JSON. Text itself is cheap, but each list or number takes many times its length
in memory; images in base64 are one string each."""
_SIZE = "binary_data_size"


def asked_of(body: bytes, header_length: str | None, most: int) -> Asked:
    """What a body asks, with `most` images at most.

    InvalidInputError for anything that isn't the protocol, TooLargeError beyond a limit.
    """
    length = _json_length(header_length, len(body))
    if length == 0:  # the whole body is the contents of the only input, as the extension's raw request has it
        return Asked("", tensors.from_elements(Declared(IMAGES, "BYTES", (1,)), [body], most), ())
    request = _request(body[:length] if length < len(body) else body)
    behind = memoryview(body)[length:]
    given: RequestInput = tensors.only(request.inputs)
    binary = request.parameters.get("binary_data_output", False)
    if not isinstance(binary, bool):
        raise InvalidInputError("The parameter 'binary_data_output' is true or false.")
    return Asked(
        request.id,
        _images(given, behind, most),
        tuple(wish_of(output.name, output.parameters) for output in request.outputs),
        binary,
        timeout_of(request.parameters),
    )


def body_of(inferred: Inferred, asked: Asked) -> tuple[bytes, int | None]:
    """The response's body, and the length of its JSON where binary tensors follow it."""
    wishes = {wish.name: wish.binary for wish in asked.wishes}
    described, binaries = [], []
    for output in inferred.outputs:
        as_wished = wishes.get(output.name)
        binary = asked.binary if as_wished is None else as_wished
        said: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": output.shape}
        if binary:
            binaries.append(output.raw())
            said["parameters"] = {_SIZE: len(binaries[-1])}
        else:
            said["data"] = _data(output)
        described.append(said)
    response: dict[str, Any] = {"model_name": inferred.model, "model_version": inferred.version}
    if inferred.id:
        response["id"] = inferred.id
    response |= {"parameters": inferred.parameters, "outputs": described}
    text = json.dumps(response, ensure_ascii=False, separators=(",", ":")).encode()
    return (b"".join([text, *binaries]), len(text)) if binaries else (text, None)


def _json_length(header: str | None, size: int) -> int:
    if header is None:
        return size
    if not (header.isascii() and header.isdigit() and len(header) <= 12 and int(header) <= size):
        raise InvalidInputError(
            f"Inference-Header-Content-Length is {header[:20]!r}, which is no length within the body of {size} bytes."
        )
    return int(header)


def _request(text: bytes) -> InferRequest:
    if sum(map(text.count, (b",", b"[", b"{"))) > MOST_JSON:
        raise TooLargeError("There are too many numbers and lists in this JSON. Send the tensor in binary form.")
    try:
        return InferRequest.model_validate_json(text)
    except ValidationError as error:
        issues = error.errors(include_input=False, include_url=False, include_context=False)[:5]
        words = "; ".join(": ".join(filter(None, (_place(issue), issue["msg"]))) for issue in issues)
        raise InvalidInputError(f"This is no inference request: {words}.") from None


def _place(issue: Any) -> str:
    return ".".join(map(str, issue["loc"]))[:80]


def _images(given: RequestInput, behind: memoryview, most: int) -> list[Image]:
    refuse_shared_memory(given.parameters)
    declared = Declared(given.name, given.datatype, given.shape)
    size = given.parameters.get(_SIZE)
    if (size is None) == (given.data is None):
        raise InvalidInputError(f"The input {given.name[:80]!r} needs 'data' or 'binary_data_size', and not both.")
    if size is None and not behind:
        return _from_json(declared, given.data, most)
    if size != len(behind) or isinstance(size, bool):
        raise InvalidInputError(f"{len(behind)} bytes follow the JSON, but its input speaks of {str(size)[:20]}.")
    return tensors.from_raw(declared, behind, most)


def _from_json(declared: Declared, data: Any, most: int) -> list[Image]:
    count = declared.images(most)
    values = tensors.flat(data)
    if declared.name == IMAGES:  # before anything is made of them: of short texts a body has millions
        tensors.same_number(declared, count, len(values), "elements")
    kinds = set(map(type, values))
    if float in kinds:  # some clients write every number with a fraction
        values = [int(value) if isinstance(value, float) and value.is_integer() else value for value in values]
        kinds = set(map(type, values))
    if declared.name == IMAGES:
        if kinds - {str}:
            raise InvalidInputError("Elements of BYTES are strings in JSON: the image file's bytes in base64.")
        return tensors.from_elements(declared, [_decoded(index, text) for index, text in enumerate(values)], most)
    if kinds - {int}:
        raise InvalidInputError("Values of UINT8 are whole numbers.")
    return tensors.from_values(declared, values, most)


def _decoded(index: int, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInputError(
            f"Image {index} is no base64. JSON carries an image file as base64 text; or send it in binary form."
        ) from None


def _data(output: Output) -> list[Any]:
    if isinstance(output.values, list):
        return [element.decode() for element in output.values]
    return list(output.values.ravel().tolist())
