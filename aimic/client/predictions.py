"""Ask a served model."""

from collections.abc import Sequence
from typing import Any

from aimic.client.predict_images import Image, Item, answered, batches, items, unanswered
from aimic.client.predict_rest import MODELS, path_of, request_of, response_of
from aimic.client.predict_tries import COST_THEIR_BATCH, Allowance, NotAnsweredError, Tries
from aimic.client.transport import Transport
from aimic.domain.prediction import ImageResult, PredictResponse
from aimic.errors import AimicError, DeadlineError, InvalidInputError, UnavailableError

__all__ = ["Image", "Predictions"]


class Predictions:
    """The inference service's REST face."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def models(self) -> list[dict[str, Any]]:
        """What is served: name, version, state (ready, loading, refused) and reason of each."""
        return list(self._transport.get(MODELS)["items"])

    def predict(
        self, model: str, images: Sequence[Image], version: int | None = None, deadline_s: float = 30.0
    ) -> PredictResponse:
        """Answers in the order of `images`, sent in batches; a bad image has its error in its place.

        Each batch has `deadline_s` in all: a service that asks to come again later is obeyed as long as that
        leaves time. All batches are answered by one version, the one that answered first.
        A batch that was not answered (too busy, too late, away) has that error in the places of its images, and
        the others are answered all the same; the error is raised only when no batch was answered.
        `request_id` of the response is the last batch's; each answer names its own.
        """
        if not images:
            raise InvalidInputError("There is no image to classify.")
        results: list[ImageResult] = []
        response: PredictResponse | None = None
        refused: AimicError | None = None
        for batch in batches(items(images)):
            try:
                response = self._send(model, response.version if response else version, batch, deadline_s)
            except COST_THEIR_BATCH as error:
                refused = refused or error
                results += unanswered(batch, error)
                continue
            results += answered(batch, response)
        if response is None:
            assert refused is not None
            raise refused
        return response.model_copy(update={"results": tuple(results)})

    def _send(self, model: str, version: int | None, batch: list[Item], deadline_s: float) -> PredictResponse:
        retry = self._transport.retry
        tries = Tries(retry, Allowance(deadline_s, deadline_s))
        while True:
            try:
                return self._try(path_of(model, version), batch, tries.try_s())
            except NotAnsweredError as refused:
                pause = tries.pause_s(refused)
                if pause is None:
                    raise refused.error from None
                retry.tell(refused.error, pause)
                retry.sleep(pause)

    def _try(self, path: str, batch: list[Item], seconds: float) -> PredictResponse:
        try:
            answer = self._transport.once("POST", path, **request_of(batch, seconds))
        except (UnavailableError, DeadlineError) as error:
            raise NotAnsweredError(error) from error
        return response_of(answer)
