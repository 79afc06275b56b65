"""Answers become output tensors."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aimic.domain.prediction import Answer, PredictResponse
from aimic.errors import AimicError, InvalidInputError, TooLargeError, UnreadableImageError

RANKED = "probabilities"
"""The output that the extension `classification` applies to."""


@dataclass(frozen=True, slots=True)
class Wish:
    """An output that the caller asks for."""

    name: str
    classification: int = 0
    """So many of the most probable classes, as strings `probability:index:label`; 0: the tensor itself."""
    binary: bool | None = None
    """Whether it goes in binary form by REST; None: as the request says for all."""


@dataclass(frozen=True, slots=True)
class Output:
    """A tensor in row-major order: an array, or the elements of BYTES."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: list[bytes] | NDArray[Any]

    def raw(self) -> bytes:
        """In the protocol's binary form: little-endian; each element of BYTES behind its length."""
        if isinstance(self.values, list):
            return b"".join(struct.pack("<I", len(element)) + element for element in self.values)
        return self.values.astype(self.values.dtype.newbyteorder("<"), copy=False).tobytes()


def answers_of(response: PredictResponse) -> list[Answer]:
    """An answer for each image. The protocol knows no half answer, so one bad image fails the request, named."""
    answers = []
    for result in response.results:
        if result.answer is None:
            code, words = (result.error.code, result.error.message) if result.error else ("", "no answer")
            raise _refusal(code)(
                f"Image {result.index} (counted from 0) of {len(response.results)}: {words} "
                "No image of this request is answered, since this protocol has no place for an error among answers; "
                "send it again without that image."
            )
        answers.append(result.answer)
    return answers


def outputs_of(answers: Sequence[Answer], wishes: Sequence[Wish]) -> list[Output]:
    """The outputs asked for, in that order; all of them when none is named."""
    known = _known(answers)
    chosen = wishes or [Wish(name) for name in known]
    return [_ranked(answers, wish) if wish.classification else known[wish.name]() for wish in chosen]


def check(wishes: Sequence[Wish]) -> None:
    """InvalidInputError when an output is asked for that no model gives: before the images cost anything."""
    names = [wish.name for wish in wishes]
    for wish in wishes:
        if wish.name not in _known(()):
            raise InvalidInputError(f"There is no output {wish.name[:80]!r}. The outputs are {', '.join(_known(()))}.")
        if wish.classification and wish.name != RANKED:
            raise InvalidInputError(f"Only {RANKED!r} can be had as classification, not {wish.name!r}.")
    if len(set(names)) < len(names):
        raise InvalidInputError("An output is asked for twice.")


def _known(answers: Sequence[Answer]) -> dict[str, Callable[[], Output]]:
    count = len(answers)
    return {
        "label": lambda: Output("label", "BYTES", (count,), _texts(answer.label or "" for answer in answers)),
        "probabilities": lambda: Output("probabilities", "FP32", (count, _classes(answers)), _chances(answers)),
        "abstained": lambda: Output("abstained", "BOOL", (count,), np.array([a.abstained for a in answers], bool)),
        "reason": lambda: Output("reason", "BYTES", (count,), _texts(answer.reason or "" for answer in answers)),
        "classes": lambda: Output("classes", "BYTES", (_classes(answers),), _texts(answers[0].probabilities)),
    }


def _ranked(answers: Sequence[Answer], wish: Wish) -> Output:
    labels = list(answers[0].probabilities)
    count = min(wish.classification, len(labels))
    chances = _chances(answers)
    best = np.argsort(-chances, axis=1, kind="stable")[:, :count]
    texts = [f"{chances[row, at]:f}:{at}:{labels[at]}" for row, places in enumerate(best) for at in places]
    return Output(wish.name, "BYTES", (len(answers), count), _texts(texts))


def _chances(answers: Sequence[Answer]) -> NDArray[np.float32]:
    return np.array([list(answer.probabilities.values()) for answer in answers], np.float32)


def _classes(answers: Sequence[Answer]) -> int:
    return len(answers[0].probabilities)


def _texts(texts: Any) -> list[bytes]:
    return [text.encode() for text in texts]


def _refusal(code: str) -> type[AimicError]:
    return TooLargeError if code == TooLargeError.code else UnreadableImageError
