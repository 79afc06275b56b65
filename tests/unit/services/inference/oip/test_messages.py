"""The protocol's messages: raw and typed contents, parameters, and definitions that clash with nobody's."""

import struct
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pool

from aimic.errors import InvalidInputError, TooLargeError
from aimic.rpc.oip import open_inference_grpc_pb2 as wire
from services.inference.dataplane import DecodedImage, EncodedImage
from services.inference.oip import models, tensors
from services.inference.oip.inferring import Inferred
from services.inference.oip.messages import asked_of, metadata_of, response_of
from services.inference.oip.outputs import Output, Wish

INFERRED = Inferred(
    model="cells",
    version="3",
    id="mine",
    parameters={"bundle_hash": "ab"},
    outputs=[
        Output("label", "BYTES", (2,), [b"round", b""]),
        Output("probabilities", "FP32", (2, 2), np.array([[0.75, 0.25], [0.5, 0.5]], np.float32)),
        Output("abstained", "BOOL", (2,), np.array([False, True])),
    ],
)


def request(shape: list[int], name: str = "images", datatype: str = "BYTES", **more: Any) -> wire.ModelInferRequest:
    contents = more.pop("contents", None)
    given = wire.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape, contents=contents)
    return wire.ModelInferRequest(model_name="cells", inputs=[given], **more)


def behind_lengths(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


@pytest.mark.parametrize("shape", [[2], [2, 1]])
def test_image_files_come_raw_and_typed(shape: list[int]) -> None:
    typed = request(shape, contents=wire.InferTensorContents(bytes_contents=[b"one", b"two"]))
    raw = request(shape, raw_input_contents=[behind_lengths(b"one", b"two")])
    for sent, is_raw in ((typed, False), (raw, True)):
        asked = asked_of(sent, 5)
        assert (asked.images, asked.binary) == ([EncodedImage(b"one"), EncodedImage(b"two")], is_raw)


def test_pixels_come_raw_and_typed() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    typed = wire.InferTensorContents(uint_contents=pixels.ravel().tolist())
    for sent in (
        request([2, 2, 2, 3], "pixels", "UINT8", contents=typed),
        request([2, 2, 2, 3], "pixels", "UINT8", raw_input_contents=[pixels.tobytes()]),
    ):
        found = [image.pixels for image in asked_of(sent, 5).images if isinstance(image, DecodedImage)]
        np.testing.assert_array_equal(np.stack(found), pixels)


def test_id_outputs_and_parameters_are_read() -> None:
    sent = request([1], raw_input_contents=[behind_lengths(b"x")], id="mine")
    sent.parameters["timeout"].int64_param = 2_500_000
    sent.parameters["sequence_id"].string_param = "whatever a client sends besides"
    sent.outputs.add(name="probabilities").parameters["classification"].int64_param = 2
    sent.outputs.add(name="label")
    asked = asked_of(sent, 5)
    assert (asked.id, asked.timeout_s) == ("mine", 2.5)
    assert asked.wishes == (Wish("probabilities", classification=2), Wish("label"))


def _with(parameter: str, **value: Any) -> wire.ModelInferRequest:
    sent = request([1], raw_input_contents=[behind_lengths(b"x")])
    sent.parameters[parameter].CopyFrom(wire.InferParameter(**value))
    return sent


def _shared() -> wire.ModelInferRequest:
    sent = request([1])
    sent.inputs[0].parameters["shared_memory_region"].string_param = "x"
    return sent


TYPED = wire.InferTensorContents(bytes_contents=[b"x"])
REFUSED = {
    "nothing": (wire.ModelInferRequest(), "0 inputs"),
    "no contents": (request([1]), "makes 1 elements; 0 were sent"),
    "both": (request([1], raw_input_contents=[behind_lengths(b"x")], contents=TYPED), "no contents itself"),
    "more than inputs": (request([1], raw_input_contents=[b"", b""]), "one entry for the one input"),
    "another field": (request([1], contents=wire.InferTensorContents(fp32_contents=[1.0])), "0 were sent"),
    "long id": (request([1], contents=TYPED, id="x" * 1025), "1024 characters"),
    "timeout as text": (_with("timeout", string_param="1"), "microseconds"),
    "timeout of nothing": (_with("timeout", int64_param=0), "microseconds"),
    "shared memory": (_shared(), "shared memory"),
    "not in a byte": (
        request([1, 1, 1, 3], "pixels", "UINT8", contents=wire.InferTensorContents(uint_contents=[1, 2, 256])),
        "between 0 and 255",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_request_is_refused(case: str) -> None:
    sent, words = REFUSED[case]
    with pytest.raises(InvalidInputError, match=words):
        asked_of(sent, 5)


def test_too_much_is_refused() -> None:
    with pytest.raises(TooLargeError):
        asked_of(request([6], contents=wire.InferTensorContents(bytes_contents=[b"x"] * 6)), 5)
    many = wire.InferTensorContents(uint_contents=bytes(tensors.MOST_VALUES + 1))
    with pytest.raises(TooLargeError, match="binary form"):
        asked_of(request([1, 1, 1, 3], "pixels", "UINT8", contents=many), 5)


def test_a_response_goes_raw_to_who_asked_raw() -> None:
    response = response_of(INFERRED, raw=True)
    assert (response.model_name, response.model_version, response.id) == ("cells", "3", "mine")
    assert response.parameters["bundle_hash"].string_param == "ab"
    described = [(output.name, output.datatype, list(output.shape)) for output in response.outputs]
    assert described == [("label", "BYTES", [2]), ("probabilities", "FP32", [2, 2]), ("abstained", "BOOL", [2])]
    assert not any(output.HasField("contents") for output in response.outputs)
    assert list(response.raw_output_contents) == [
        behind_lengths(b"round", b""),
        struct.pack("<4f", 0.75, 0.25, 0.5, 0.5),
        b"\0\1",
    ]


def test_a_response_goes_typed_to_who_asked_typed() -> None:
    response = response_of(INFERRED, raw=False)
    label, probabilities, abstained = (output.contents for output in response.outputs)
    assert list(label.bytes_contents) == [b"round", b""]
    assert list(probabilities.fp32_contents) == [0.75, 0.25, 0.5, 0.5]
    assert list(abstained.bool_contents) == [False, True]
    assert not response.raw_output_contents


def test_metadata_says_what_the_model_takes_and_gives() -> None:
    found = metadata_of(models.ModelInfo("cells", ("1", "2"), models.outputs_with(4)))
    assert (found.name, list(found.versions), found.platform) == ("cells", ["1", "2"], "aimic_bundle")
    assert [(tensor.name, list(tensor.shape)) for tensor in found.inputs] == [
        ("images", [-1]),
        ("pixels", [-1, -1, -1, 3]),
    ]
    assert list(found.outputs[1].shape) == [-1, 4]


def test_the_protocols_names_are_left_free_for_its_clients() -> None:
    # A client of the protocol registers them in the pool of the process, with definitions of its own.
    shared = descriptor_pool.Default()
    for name in ("ModelInferRequest", "GRPCInferenceService"):
        with pytest.raises(KeyError):
            shared.FindFileContainingSymbol(f"inference.{name}")
    assert wire.ModelInferRequest.DESCRIPTOR.full_name == "inference.ModelInferRequest"
    assert wire.ModelInferRequest.DESCRIPTOR.file.pool is not shared
