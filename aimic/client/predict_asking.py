"""The two questions that every asyncio client of predictions puts, however they travel."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import Self

from aimic.client.predict_images import Image, items, items_or_errors
from aimic.client.predict_many import Ask, Many
from aimic.client.predict_tries import Allowance
from aimic.client.retry import Retry
from aimic.domain.prediction import ImageResult, PredictResponse
from aimic.errors import InvalidInputError

IN_FLIGHT = 4
PATIENCE_S = 60.0


class Asking(ABC):
    """Predictions for asyncio programs; an async context manager, or call `aclose`.

    Every error is an `aimic.errors.AimicError` whose message is fit for a person. One client is for one event loop;
    its tasks may share it.
    """

    def __init__(self, retry: Retry | None) -> None:
        self._retry = retry or Retry()

    async def predict(
        self, model: str, images: Sequence[Image], version: int | None = None, deadline_s: float = 30.0
    ) -> PredictResponse:
        """Classify images (paths, bytes or (name, bytes)), in order, by one version.

        A bad image has its error in its place. Images are sent in batches, and each batch has `deadline_s` in all: a
        service that asks to come again later is obeyed as long as that leaves time. A batch that was not answered
        has its error in the places of its images; the error is raised only when no batch was answered.
        """
        if not images:
            raise InvalidInputError("There is no image to classify.")
        allowance = Allowance(deadline_s, deadline_s)
        many = Many(self._ask(model), self._retry, allowance, version=version, in_flight=IN_FLIGHT)
        results = tuple([result async for result in many.results(items(images))])
        if many.request_id is None or many.version is None:
            assert many.refused is not None
            raise many.refused
        return PredictResponse(model=model, version=many.version, request_id=many.request_id, results=results)

    async def stream(
        self,
        model: str,
        images: Iterable[Image],
        version: int | None = None,
        deadline_s: float = 30.0,
        *,
        in_flight: int = IN_FLIGHT,
        patience_s: float = PATIENCE_S,
    ) -> AsyncGenerator[ImageResult, None]:
        """Classify very many images: a result for each as they come, in order, by one version.

        `images` is read (in threads) only as far ahead as `in_flight` batches. One try of a batch has `deadline_s`.
        A file that can't be read has its error in its place. A service that is busy, away or too slow is asked again
        for `patience_s`; if it answered nothing in that time, its error is raised, and what came before holds.
        Close the generator (`contextlib.aclosing`) to stop early: requests under way are then taken back.
        """
        allowance = Allowance(deadline_s, deadline_s + patience_s, persistent=True)
        async with self._line(model) as ask:
            many = Many(ask, self._retry, allowance, version=version, in_flight=in_flight)
            async with aclosing(many.results(items_or_errors(images))) as results:
                async for result in results:
                    yield result

    @abstractmethod
    def _ask(self, model: str) -> Ask:
        """One try."""

    @asynccontextmanager
    async def _line(self, model: str) -> AsyncIterator[Ask]:
        """One try of many, for the length of a stream."""
        yield self._ask(model)

    @abstractmethod
    async def aclose(self) -> None:
        """Close all connections that are ours."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
