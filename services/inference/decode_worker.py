"""The process that decodes images for serving, and may die of one: `python -m services.inference.decode_worker FD`.

It reads questions from standard input and writes answers to standard output and pixels to the file that it was
given open (see frames.py), until the input ends, which it also does when the service is killed. It has no
credentials and opens nothing.
"""

import os
import resource
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from aimic.errors import AimicError
from aimic.nets.preprocessing import Preprocessing, to_pixels
from services.inference.frames import ANSWER, DROPPED, LENGTH, PIXELS, PIXELS_AT, QUESTION, REFUSED

MEMORY_BYTES = 3 * 1024**3
"""Address space: the largest picture that the decode limits take, several times over."""


@lru_cache(maxsize=64)
def preprocessing_of(text: bytes) -> Preprocessing:
    """The preprocessing that a question names."""
    return Preprocessing.model_validate_json(text)


def answer(preprocessing: Preprocessing, data: bytes) -> NDArray[np.uint8] | str:
    """Pixels of one image, or the reason why there are none."""
    try:
        return to_pixels(data, preprocessing)
    except AimicError as error:
        return error.message
    except MemoryError:
        return "This image needs more memory to decode than is allowed for one image."
    except Exception as error:  # a codec's own error on bytes from outside; the next image must still be served
        return f"This file can't be decoded as an image ({type(error).__name__})."


def serve(questions: BinaryIO, answers: BinaryIO, memory: int) -> None:
    """Answer until the questions end. `memory` is the file descriptor for the pixels."""
    while len(header := questions.read(QUESTION.size)) == QUESTION.size:
        number, described, images = QUESTION.unpack(header)
        preprocessing = preprocessing_of(questions.read(described))
        lengths = [LENGTH.unpack(questions.read(LENGTH.size))[0] for _ in range(images)]
        # All of it before the first image: who asked must be able to write the whole question.
        encoded = [questions.read(length) for length in lengths]
        answers.writelines(_answers(number, preprocessing, encoded, memory))
        answers.flush()


def _answers(number: int, preprocessing: Preprocessing, encoded: list[bytes], memory: int) -> Iterator[bytes]:
    place = PIXELS_AT
    for data in encoded:
        dropped = os.pread(memory, DROPPED.size, 0) == DROPPED.pack(number)
        outcome = "Nobody waits for it." if dropped else answer(preprocessing, data)
        if isinstance(outcome, str):
            reason = outcome.encode()
            yield ANSWER.pack(REFUSED, len(reason)) + reason
        else:
            if os.pwrite(memory, outcome.data, place) != outcome.nbytes:
                raise OSError("no memory for the pixels")
            yield ANSWER.pack(PIXELS, 0)
        place += preprocessing.image_size**2 * 3


def main() -> None:
    """Take the pipe, give up memory that a picture can't need, and serve."""
    memory = int(sys.argv[1])
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a codec's library prints must not land among the answers
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    serve(sys.stdin.buffer, answers, memory)


if __name__ == "__main__":
    main()
