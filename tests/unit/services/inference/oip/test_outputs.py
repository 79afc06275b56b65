"""Output tensors: names, shapes, values, their binary form, and the refusal when one image is bad."""

import struct

import numpy as np
import pytest

from aimic.domain.prediction import Answer, ImageError, ImageResult, PredictResponse
from aimic.errors import AimicError, InvalidInputError, TooLargeError, UnreadableImageError
from services.inference.oip import models
from services.inference.oip.outputs import Output, Wish, answers_of, check, outputs_of

CHANCES = ({"rund": 0.7, "körnig": 0.2, "lobed": 0.1}, {"rund": 0.4, "körnig": 0.5, "lobed": 0.1})


def answer(chances: dict[str, float], *, unsure: bool) -> Answer:
    return Answer(
        label=None if unsure else max(chances, key=chances.__getitem__),
        probabilities=chances,
        abstained=unsure,
        reason="unsure" if unsure else None,
        model="cells",
        version=1,
        bundle_hash="ab",
        executor="torch",
        request_id="r",
    )


ANSWERS = (answer(CHANCES[0], unsure=False), answer(CHANCES[1], unsure=True))


def test_all_outputs_come_as_the_metadata_announces_them() -> None:
    outputs = outputs_of(ANSWERS, ())
    announced = models.outputs_with(3)
    assert [(output.name, output.datatype) for output in outputs] == [(info.name, info.datatype) for info in announced]
    for output, info in zip(outputs, announced, strict=True):
        assert output.shape == tuple(2 if size == models.FREE else size for size in info.shape)
    label, probabilities, abstained, reason, classes = (output.values for output in outputs)
    assert (label, reason) == ([b"rund", b""], [b"", b"unsure"])
    assert classes == [b"rund", "körnig".encode(), b"lobed"]
    np.testing.assert_array_equal(abstained, [False, True])
    np.testing.assert_allclose(np.asarray(probabilities), [[0.7, 0.2, 0.1], [0.4, 0.5, 0.1]], rtol=1e-6)


def test_only_the_outputs_asked_for_come_in_that_order() -> None:
    assert [output.name for output in outputs_of(ANSWERS, (Wish("classes"), Wish("label")))] == ["classes", "label"]


def test_the_binary_form_is_little_endian_with_lengths_before_bytes() -> None:
    label, probabilities, abstained, *_ = outputs_of(ANSWERS, ())
    assert label.raw() == struct.pack("<I", 4) + b"rund" + struct.pack("<I", 0)
    np.testing.assert_allclose(struct.unpack("<6f", probabilities.raw()), [0.7, 0.2, 0.1, 0.4, 0.5, 0.1], rtol=1e-6)
    assert abstained.raw() == b"\0\1"
    assert Output("x", "FP32", (1,), np.array([1.0], ">f4")).raw() == struct.pack("<f", 1.0)


@pytest.mark.parametrize(("count", "shape"), [(1, (2, 1)), (2, (2, 2)), (99, (2, 3))])
def test_probabilities_can_be_had_as_the_most_probable_classes(count: int, shape: tuple[int, int]) -> None:
    (output,) = outputs_of(ANSWERS, (Wish("probabilities", classification=count),))
    assert (output.datatype, output.shape) == ("BYTES", shape)
    first = [b"0.700000:0:rund", "0.200000:1:körnig".encode(), b"0.100000:2:lobed"]
    second = ["0.500000:1:körnig".encode(), b"0.400000:0:rund", b"0.100000:2:lobed"]
    assert output.values == first[: shape[1]] + second[: shape[1]]


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ((Wish("output0"),), "no output 'output0'. The outputs are label, probabilities"),
        ((Wish("label", classification=1),), "Only 'probabilities'"),
        ((Wish("label"), Wish("label")), "twice"),
    ],
)
def test_a_wish_that_no_model_meets_is_refused(wishes: tuple[Wish, ...], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        check(wishes)


@pytest.mark.parametrize(("code", "kind"), [("unreadable_image", UnreadableImageError), ("too_large", TooLargeError)])
def test_one_bad_image_fails_the_request_and_is_named(code: str, kind: type[AimicError]) -> None:
    results = (
        ImageResult(index=0, answer=ANSWERS[0]),
        ImageResult(index=1, error=ImageError(code=code, message="It is not as it should be.")),
        ImageResult(index=2, answer=ANSWERS[1]),
    )
    with pytest.raises(kind, match=r"Image 1 \(counted from 0\) of 3: It is not as it should be\. No image"):
        answers_of(PredictResponse(model="cells", version=1, request_id="r", results=results))
