"""Between the wire of aimic.rpc.v1 and the kernel's types, as a caller needs it."""

from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio

from aimic import errors
from aimic.client.predict_images import Item
from aimic.client.predict_tries import NotAnsweredError
from aimic.client.problems import kind_of
from aimic.domain.prediction import Answer, ImageError, ImageResult, PredictResponse
from aimic.rpc.v1 import inference_pb2 as wire

_BY_CODE: dict[grpc.StatusCode, type[errors.AimicError]] = {
    grpc.StatusCode.UNAVAILABLE: errors.UnavailableError,
    grpc.StatusCode.CANCELLED: errors.UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.OverloadedError,
    grpc.StatusCode.UNAUTHENTICATED: errors.NotAuthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: errors.ForbiddenError,
    grpc.StatusCode.NOT_FOUND: errors.NotFoundError,
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidInputError,
}


def request_of(model: str, version: int | None, batch: Sequence[Item]) -> wire.PredictRequest:
    """One request for a batch."""
    images = [wire.Image(name=item.name, data=item.data) for item in batch]
    return wire.PredictRequest(model=model, version=version, images=images)


def response_of(reply: wire.PredictReply) -> PredictResponse:
    """What REST would have said."""
    return PredictResponse(
        model=reply.model,
        version=reply.version,
        request_id=reply.request_id,
        results=tuple(map(_result, reply.results)),
    )


def refused(problem: wire.Problem) -> NotAnsweredError:
    """A problem of the server as the error it was there."""
    wished = problem.retry_after_seconds if problem.HasField("retry_after_seconds") else None
    kind = kind_of(problem.code)
    return NotAnsweredError(kind(problem.message, retry_after_s=wished, request_id=problem.request_id), wished)


def failed(error: grpc.aio.AioRpcError, address: str) -> NotAnsweredError:
    """A call that ended without an answer."""
    trailing: Any = error.trailing_metadata() or ()  # pairs, which the stubs don't say
    for key, value in trailing:
        if key == "aimic-problem-bin":
            return refused(wire.Problem.FromString(value))
    code, words = error.code(), error.details() or ""
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in words:
        return NotAnsweredError(errors.TooLargeError("These images are too large for one request."))
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return NotAnsweredError(errors.DeadlineError(f"AIMIC at {address} didn't answer in time."))
    kind = _BY_CODE.get(code, errors.AimicError)
    said = kind(f"The call to AIMIC at {address} ended without an answer ({code.name}: {words}).")
    return NotAnsweredError(said, _wished(trailing))


def _wished(trailing: Any) -> float | None:
    """Seconds until whoever ended the call wishes to see us again: as we say it, or as gRPC's own (gRFC A6)."""
    said = dict(trailing)
    for key, per_second in (("retry-after", 1), ("grpc-retry-pushback-ms", 1000)):
        text = str(said.get(key, ""))
        if text.isascii() and text.isdigit():
            return int(text) / per_second
    return None


def _result(result: wire.ImageResult) -> ImageResult:
    name = result.name or None
    if result.HasField("problem"):
        said = ImageError(code=result.problem.code, message=result.problem.message)
        return ImageResult(index=result.index, name=name, error=said)
    return ImageResult(index=result.index, name=name, answer=_answer(result.answer))


def _answer(answer: wire.Answer) -> Answer:
    return Answer(
        label=answer.label if answer.HasField("label") else None,
        probabilities={pair.label: pair.probability for pair in answer.probabilities},
        abstained=answer.abstained,
        reason=answer.reason if answer.HasField("reason") else None,
        class_mix=answer.class_mix,
        model=answer.model,
        version=answer.version,
        bundle_hash=answer.bundle_hash,
        executor=answer.executor,
        request_id=answer.request_id,
    )
