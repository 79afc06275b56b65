"""The asyncio client of predictions over REST."""

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit

import httpx

from aimic.client.predict_asking import Asking
from aimic.client.predict_images import Item
from aimic.client.predict_many import Ask
from aimic.client.predict_rest import GRACE_S, path_of, request_of, response_of
from aimic.client.predict_tries import NotAnsweredError
from aimic.client.retry import Retry
from aimic.client.transport import network_error, origin_of
from aimic.domain.prediction import PredictResponse
from aimic.errors import DeadlineError
from aimic.settings import is_loopback
from aimic.telemetry import outgoing

_CONNECT_S = 5.0


class AsyncClient(Asking):
    """Predictions over REST, through the one address of an installation. `http` may be given; it is then yours."""

    def __init__(
        self,
        server: str = "http://127.0.0.1:8080",
        api_key: str | None = None,
        *,
        retry: Retry | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        super().__init__(retry)
        self._server = server.rstrip("/")
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._owned = http is None
        # A proxy of the environment is for the outside; our own machine is reached directly.
        direct = is_loopback(urlsplit(self._server).hostname or "")
        self._http = http or httpx.AsyncClient(trust_env=not direct)

    async def aclose(self) -> None:
        """Close all connections that are ours."""
        if self._owned:
            await self._http.aclose()

    def _ask(self, model: str) -> Ask:
        async def ask(version: int | None, batch: Sequence[Item], seconds: float) -> PredictResponse:
            origin = origin_of(self._server)
            more = request_of(batch, seconds)
            more["headers"] |= outgoing() | self._headers
            more["timeout"] = httpx.Timeout(seconds + GRACE_S, connect=min(_CONNECT_S, seconds))
            try:
                # httpx bounds each step; this bounds them together.
                async with asyncio.timeout(seconds + GRACE_S):
                    answer = await self._http.post(self._server + path_of(model, version), **more)
            except TimeoutError:
                raise NotAnsweredError(DeadlineError(f"AIMIC at {origin} didn't answer in time.")) from None
            except httpx.HTTPError as error:
                raise NotAnsweredError(network_error(error, origin)) from error
            return response_of(answer)

        return ask
