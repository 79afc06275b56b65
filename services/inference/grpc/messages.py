"""Between the wire of aimic.rpc.v1 and the kernel's types."""

from aimic.domain.prediction import Answer, ImageResult, PredictResponse
from aimic.errors import AimicError
from aimic.rpc.v1 import inference_pb2 as wire
from services.inference.dataplane import EncodedImage


def images_of(request: wire.PredictRequest) -> list[EncodedImage]:
    """The images of a request."""
    return [EncodedImage(image.data, image.name or None) for image in request.images]


def version_of(request: wire.PredictRequest) -> int | None:
    """The version asked for; None: the one that serves."""
    return request.version if request.HasField("version") else None


def reply_of(response: PredictResponse) -> wire.PredictReply:
    """The data plane's response on the wire."""
    return wire.PredictReply(
        model=response.model,
        version=response.version,
        request_id=response.request_id,
        results=[_result(result, response.request_id) for result in response.results],
    )


def problem_of(error: AimicError, request_id: str) -> wire.Problem:
    """One of our errors on the wire."""
    return wire.Problem(
        code=error.code,
        message=error.message,
        request_id=request_id,
        retry_after_seconds=error.retry_after_s,
    )


def _result(result: ImageResult, request_id: str) -> wire.ImageResult:
    message = wire.ImageResult(index=result.index, name=result.name or "")
    if result.answer is not None:
        message.answer.CopyFrom(_answer(result.answer))
    elif result.error is not None:
        problem = wire.Problem(code=result.error.code, message=result.error.message, request_id=request_id)
        message.problem.CopyFrom(problem)
    return message


def _answer(answer: Answer) -> wire.Answer:
    return wire.Answer(
        label=answer.label,
        probabilities=[
            wire.ClassProbability(label=label, probability=probability)
            for label, probability in answer.probabilities.items()
        ],
        abstained=answer.abstained,
        reason=answer.reason,
        class_mix=answer.class_mix,
        model=answer.model,
        version=answer.version,
        bundle_hash=answer.bundle_hash,
        executor=answer.executor,
        request_id=answer.request_id,
    )
