"""A request of the protocol, asked of the data plane: the same way for REST and gRPC."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aimic.domain.site import Principal
from aimic.errors import InvalidInputError
from services.inference.dataplane import DataPlane, Image
from services.inference.deadline import Deadline
from services.inference.oip import outputs
from services.inference.oip.models import version_of
from services.inference.oip.outputs import Output, Wish

LONGEST_ID = 1024
SMALL = 2**20
"""Bytes up to which reading a request, or packing an answer, is quicker than giving it to a thread."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks, whichever way it came."""

    id: str
    images: list[Image]
    wishes: tuple[Wish, ...]
    binary: bool = False
    """REST: whether outputs go in binary form unless they say otherwise."""
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Inferred:
    """What a response says, whichever way it goes."""

    model: str
    version: str
    id: str
    parameters: dict[str, str]
    """What the answers rest on, so that they can be filed: bundle_hash, executor, class_mix, request_id."""
    outputs: list[Output]


async def infer(
    plane: DataPlane,
    model: str,
    version: str,
    asked: Asked,
    deadline: Deadline,
    request_id: str,
    principal: Principal,
) -> Inferred:
    """The data plane's errors, and InvalidInputError or TooLargeError that name the one bad image of several."""
    outputs.check(asked.wishes)
    response = await plane.predict(model, version_of(version), asked.images, deadline, request_id, principal=principal)
    answers = outputs.answers_of(response)
    first = answers[0]
    return Inferred(
        model=response.model,
        version=str(response.version),
        id=asked.id,
        parameters={
            "bundle_hash": first.bundle_hash,
            "executor": first.executor,
            "class_mix": first.class_mix,
            "request_id": request_id,
        },
        outputs=outputs.outputs_of(answers, asked.wishes),
    )


def until(deadline: Deadline, began: float, timeout_s: float | None) -> Deadline:
    """The call's deadline, or the request's own `timeout` (from `began`, monotonic seconds) where that is earlier."""
    return deadline if timeout_s is None else Deadline(min(deadline.at, began + timeout_s))


def timeout_of(parameters: dict[str, Any]) -> float | None:
    """Seconds, from the parameter `timeout` in microseconds; InvalidInputError for anything but a number above 0."""
    wish = parameters.get("timeout")
    if wish is None:
        return None
    if isinstance(wish, bool) or not isinstance(wish, int) or not 0 < wish < 2**63:
        raise InvalidInputError("The parameter 'timeout' is a whole number of microseconds above 0 and below 2^63.")
    return wish / 1e6


def wish_of(name: str, parameters: dict[str, Any]) -> Wish:
    """A requested output with its parameters; InvalidInputError for ones that make no sense."""
    refuse_shared_memory(parameters)
    count = parameters.get("classification", 0)
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count < 2**31:
        raise InvalidInputError("The parameter 'classification' is the number of classes to be named.")
    binary = parameters.get("binary_data")
    if not isinstance(binary, bool | None):
        raise InvalidInputError("The parameter 'binary_data' is true or false.")
    return Wish(name, count, binary)


def refuse_shared_memory(parameters: Sequence[str] | dict[str, Any]) -> None:
    """InvalidInputError when a tensor is said to lie in memory that we don't share."""
    if any(name.startswith("shared_memory") for name in parameters):
        raise InvalidInputError("Tensors in shared memory are not taken here; send them in the request.")
