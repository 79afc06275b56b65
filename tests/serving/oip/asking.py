"""What the programs beside this share: a job comes in as JSON, what the server said goes out as JSON."""

import base64
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

OUTPUTS = ("label", "probabilities", "abstained", "reason", "classes")


class Job:
    """Whom to ask, and about what."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.rest: str = given["rest"]
        self.grpc: str = given["grpc"]
        self.headers = {"authorization": f"Bearer {given['key']}"}
        self.files = [base64.b64decode(text) for text in given["files"]]
        self.pixels: NDArray[np.uint8] = np.array(given["pixels"], np.uint8)

    @property
    def elements(self) -> NDArray[np.object_]:
        """The image files as a BYTES tensor [n]."""
        return np.array(self.files, np.object_)

    @property
    def texts(self) -> NDArray[np.object_]:
        """The same in base64, as plain JSON carries them."""
        return np.array([base64.b64encode(data).decode() for data in self.files], np.object_)


def job() -> Job:
    """The one that the test wrote to our standard input."""
    return Job(json.load(sys.stdin))


def tell(found: dict[str, Any]) -> None:
    """To the test, on standard output."""
    print(json.dumps(found))


def tensors(as_numpy: Callable[[str], Any]) -> dict[str, Any]:
    """All outputs of a result, as lists; BYTES as text."""
    found = {}
    for name in OUTPUTS:
        values = as_numpy(name)
        found[name] = None if values is None else np.vectorize(_text, otypes=[object])(values).tolist()
    return found


def refusal(call: Callable[[], Any], kind: type[Exception]) -> list[str]:
    """Status and words of a refused call, as the client gives them to its user."""
    try:
        call()
    except kind as error:
        return words(error)
    raise AssertionError("it was not refused")


def words(error: Any) -> list[str]:
    """Status and words of one of Triton's exceptions."""
    return [str(error.status()), error.message()]


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
