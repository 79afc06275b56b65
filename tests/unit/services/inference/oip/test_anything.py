"""Whatever is sent, a request is read or refused in words: nothing else comes out of the readers."""

import json
import struct
import zlib
from typing import Any

from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aimic.errors import AimicError
from aimic.rpc.oip import open_inference_grpc_pb2 as wire
from services.inference.oip import bodies, messages, outputs
from services.inference.oip.compression import packed, unpacked
from services.inference.oip.inferring import Asked

# The same examples in every run: what fails here fails for everybody, and at once.
_EXAMPLES = settings(max_examples=150, deadline=None, derandomize=True, database=None)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("aGVsbG8="),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_PARAMETERS = st.dictionaries(
    st.sampled_from(["binary_data_size", "binary_data", "binary_data_output", "classification", "timeout", "other"]),
    st.booleans() | st.integers(-2, 40) | _VALUES,
    max_size=3,
)
_SIZES = st.lists(st.integers(-1, 4) | st.sampled_from([3, 2**31, 2**62]) | st.integers(), max_size=5)
_DATA = st.lists(st.integers(0, 255), max_size=12) | st.lists(st.just("aGVsbG8="), max_size=3) | _VALUES


def _some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with these fields, each of which may be missing or something else."""
    return st.fixed_dictionaries({}, optional={name: value | _VALUES for name, value in fields.items()})


_INPUTS = st.lists(
    _some(
        name=st.sampled_from(["images", "pixels"]),
        datatype=st.sampled_from(["BYTES", "UINT8"]),
        shape=_SIZES,
        parameters=_PARAMETERS,
        data=_DATA,
    ),
    max_size=2,
)
_REQUESTS = _some(
    id=st.text(max_size=5),
    inputs=_INPUTS,
    outputs=st.lists(_some(name=st.sampled_from(["label", "classes"]), parameters=_PARAMETERS), max_size=2),
    parameters=_PARAMETERS,
)


def read(body: bytes, length: str | None) -> Asked | None:
    """What was asked, or None when it was refused as it should be."""
    try:
        asked = bodies.asked_of(body, length, 3)
        outputs.check(asked.wishes)
    except AimicError as error:
        assert error.status in {413, 422} and error.message
        return None
    assert 0 <= len(asked.images) <= 3
    return asked


@_EXAMPLES
@given(st.binary(max_size=200), st.none() | st.text(max_size=5) | st.integers(-1, 200).map(str))
def test_any_bytes(body: bytes, length: str | None) -> None:
    read(body, length)


@_EXAMPLES
@given(_REQUESTS, st.binary(max_size=40), st.booleans())
def test_anything_like_a_request(request: dict[str, Any], behind: bytes, counted: bool) -> None:
    text = json.dumps(request).encode()
    read(text + behind, str(len(text)) if counted else None)


@_EXAMPLES
@given(st.lists(st.binary(max_size=20), min_size=1, max_size=3), st.data())
def test_any_change_of_a_good_binary_body(images: list[bytes], data: st.DataObject) -> None:
    raw = b"".join(struct.pack("<I", len(image)) + image for image in images)
    given_ = {"name": "images", "datatype": "BYTES", "shape": [len(images)]}
    text = json.dumps({"inputs": [given_ | {"parameters": {"binary_data_size": len(raw)}}]}).encode()
    good = read(text + raw, str(len(text)))
    assert good is not None and [getattr(image, "data", None) for image in good.images] == images
    body = bytearray(text + raw)
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    read(bytes(body), str(len(text) + data.draw(st.integers(-2, 2))))


@_EXAMPLES
@given(st.binary(max_size=100))
@example(b"\x2a\x00\x3a\x00")
def test_any_message(body: bytes) -> None:
    try:
        request = wire.ModelInferRequest.FromString(body)
    except DecodeError:
        return
    _read_message(request)


@_EXAMPLES
@given(_SIZES, st.sampled_from(["images", "pixels", ""]), st.sampled_from(["BYTES", "UINT8", ""]), st.data())
def test_anything_like_a_message(sizes: list[int], name: str, datatype: str, data: st.DataObject) -> None:
    within = [size for size in sizes if -(2**63) <= size < 2**63]
    contents = wire.InferTensorContents(
        uint_contents=data.draw(st.lists(st.integers(0, 2**32 - 1), max_size=12)),
        bytes_contents=data.draw(st.lists(st.binary(max_size=4), max_size=3)),
    )
    tensor = wire.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=within)
    raw = data.draw(st.none() | st.lists(st.binary(max_size=30), max_size=2))
    if raw is None or data.draw(st.booleans()):
        tensor.contents.CopyFrom(contents)
    _read_message(wire.ModelInferRequest(inputs=[tensor], raw_input_contents=raw or []))


@_EXAMPLES
@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate"]), st.data())
def test_any_packed_body(body: bytes, encoding: str, data: st.DataObject) -> None:
    whole = bytearray(packed(body, encoding))
    assert unpacked(bytes(whole), encoding, 300) == body
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    for changed in (bytes(whole), body, zlib.compress(body)[1:]):
        try:
            assert len(unpacked(changed, encoding, 300)) <= 300
        except AimicError as error:
            assert error.status in {413, 422}


def _read_message(request: wire.ModelInferRequest) -> None:
    try:
        assert 0 <= len(messages.asked_of(request, 3).images) <= 3
    except AimicError as error:
        assert error.status in {413, 422} and error.message
