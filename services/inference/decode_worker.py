"""The process that decodes images for serving, and may die of one: `python -m services.inference.decode_worker`.

It reads questions from standard input and writes answers to standard output (see frames.py) until the input
ends, which it also does when the service is killed. It has no credentials and opens nothing.
"""

import os
import resource
import sys
from functools import lru_cache
from typing import BinaryIO

from aimic.errors import AimicError
from aimic.nets.preprocessing import Preprocessing, to_pixels
from services.inference.frames import ANSWER, PIXELS, QUESTION, REFUSED

MEMORY_BYTES = 3 * 1024**3
"""Address space: the largest picture that the decode limits take, several times over."""


@lru_cache(maxsize=64)
def preprocessing_of(text: bytes) -> Preprocessing:
    """The preprocessing that a question names."""
    return Preprocessing.model_validate_json(text)


def answer(preprocessing: bytes, data: bytes) -> tuple[int, bytes]:
    """Pixels of one image, or the reason why there are none."""
    try:
        return PIXELS, to_pixels(data, preprocessing_of(preprocessing)).tobytes()
    except AimicError as error:
        return REFUSED, error.message.encode()
    except MemoryError:
        return REFUSED, b"This image needs more memory to decode than is allowed for one image."
    except Exception as error:  # a codec's own error on bytes from outside; the next image must still be served
        return REFUSED, f"This file can't be decoded as an image ({type(error).__name__}).".encode()


def serve(questions: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the questions end."""
    while len(header := questions.read(QUESTION.size)) == QUESTION.size:
        preprocessing_size, data_size = QUESTION.unpack(header)
        kind, payload = answer(questions.read(preprocessing_size), questions.read(data_size))
        answers.write(ANSWER.pack(kind, len(payload)))
        answers.write(payload)
        answers.flush()


def main() -> None:
    """Take the pipe, give up memory that a picture can't need, and serve."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a codec's library prints must not land among the answers
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
