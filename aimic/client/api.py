"""The client: one object, a resource for each thing that the platform knows."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from aimic.client.datasets import Datasets
from aimic.client.jobs import Jobs
from aimic.client.models import Models
from aimic.client.predictions import Image, Predictions
from aimic.client.retry import Retry
from aimic.client.transport import Transport
from aimic.client.uploads import Uploads
from aimic.client.weights import WeightsFiles
from aimic.domain.prediction import PredictResponse

DEFAULT_SERVER = "http://127.0.0.1:8080"


class Client:
    """Typed access to an AIMIC installation; use it as a context manager, or call `close`.

    `server` is the one address of an installation; services that speak to each other directly name
    `inference` too. Every error is an `aimic.errors.AimicError` whose message is fit for a person.
    A client may be shared by threads.
    """

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        api_key: str | None = None,
        *,
        inference: str | None = None,
        timeout_s: float = 30.0,
        retry: Retry | None = None,
        http: httpx.Client | None = None,
        inference_http: httpx.Client | None = None,
    ) -> None:
        self._ingest = Transport(server, api_key, timeout_s, retry, http)
        self._inference = Transport(inference or server, api_key, timeout_s, retry, inference_http or http)
        self.uploads = Uploads(self._ingest)
        self.datasets = Datasets(self._ingest, self.uploads)
        self.jobs = Jobs(self._ingest)
        self.models = Models(self._ingest, self.uploads)
        self.weights = WeightsFiles(self._ingest, self.uploads)
        self._predictions = Predictions(self._inference)

    def predict(
        self, model: str, images: Sequence[Image], version: int | None = None, deadline_s: float = 30.0
    ) -> PredictResponse:
        """Classify images (paths, bytes or (name, bytes)) with a served model, in batches, in order.

        A bad image has its error in its place (UnreadableImageError if no image could be read).
        """
        return self._predictions.predict(model, images, version, deadline_s)

    def served(self) -> list[dict[str, Any]]:
        """What the inference service serves, with the state of each model."""
        return self._predictions.models()

    def close(self) -> None:
        """Close all connections."""
        self._ingest.close()
        self._inference.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
