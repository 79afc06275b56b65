"""HTTP with manners: retries with back-off, idempotency keys, and errors in plain words."""

import contextlib
import copy
import logging
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from aimic import tracing
from aimic.client.problems import error_of, retry_after
from aimic.client.retry import Retry, Waiting
from aimic.errors import AimicError, DeadlineError, UnavailableError
from aimic.settings import is_loopback
from aimic.telemetry import outgoing

logger = logging.getLogger(__name__)

WORTH_ANOTHER_TRY = frozenset({429, 500, 502, 503, 504, 507})
_TOO_LATE = httpx.codes.GATEWAY_TIMEOUT
SLOW_S = 600.0
"""Seconds that the answer may take where the server works on a whole data set or a large file before it answers."""


class Transport:
    """Speaks to one base address. Everything that comes back is read whole, unless `stream` is used.

    `http` may be given (it is then the caller's to close), such as a client over an in-process application.
    """

    def __init__(
        self,
        base: str,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        retry: Retry | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        self.base = base.rstrip("/")
        self.retry = retry or Retry()
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._owned = http is None
        # A proxy of the environment is for the outside; our own machine is reached directly.
        direct = is_loopback(urlsplit(self.base).hostname or "")
        self._http = http or httpx.Client(
            timeout=httpx.Timeout(timeout_s, connect=min(5.0, timeout_s)), trust_env=not direct
        )

    def close(self) -> None:
        """Close the connections, if they are ours."""
        if self._owned:
            self._http.close()

    def url(self, path: str) -> str:
        """The full address of `path`."""
        return path if path.startswith("http") else f"{self.base}{path}"

    def request(
        self,
        method: str,
        path: str,
        *,
        again: bool | None = None,
        slow: bool = False,
        patience_s: float | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> httpx.Response:
        """One request with retries; `again` says whether it may be sent twice (by default: all but POST and PATCH).

        A server that asks to come again later is obeyed for `patience_s` in all (without it, Retry's).
        A `slow` one has SLOW_S for its answer and is not sent again when that was too little: the server would
        do the same work twice, side by side.
        The right AimicError for every answer of 400 and above; UnavailableError or DeadlineError without one.
        """
        may_repeat = method not in {"POST", "PATCH"} if again is None else again
        if slow:
            more["timeout"] = httpx.Timeout(SLOW_S, connect=5.0)
        attempt, waited = 0, 0.0
        while True:
            answer = self._try(method, path, headers=headers, **more)
            if isinstance(answer, httpx.Response) and answer.status_code < 400:
                return answer
            error, wished = _wish(answer)
            attempt += 1
            more_tries = self.retry.allows(attempt, wished, waited, patience_s)
            if not (may_repeat and more_tries and _worth_it(answer, slow)):
                raise error
            waited += self.retry.wait(attempt - 1, wished, error)

    def telling(self, waiting: Waiting) -> Self:
        """The same transport, which tells `waiting` before each wait."""
        other = copy.copy(self)
        other.retry = replace(self.retry, waiting=waiting)
        return other

    def _try(self, method: str, path: str, **more: Any) -> httpx.Response | AimicError:
        try:
            return self.once(method, path, **more)
        except (UnavailableError, DeadlineError) as error:
            return error

    def once(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> httpx.Response:
        """One request, one try, whatever the status of its answer."""
        with self._plain_errors(), tracing.span(method, kind="client", facts={"http.request.method": method}):
            return self._http.request(method, self.url(path), headers=self._with(headers), **more)

    def get(self, path: str, **params: Any) -> Any:
        """The JSON at `path`; parameters that are None are left out."""
        given = {key: value for key, value in params.items() if value is not None}
        return self.request("GET", path, params=given).json()

    def create(self, path: str, body: Any, *, slow: bool = False) -> Any:
        """POST JSON that makes something, exactly once however often it has to be sent; `slow` as in `request`."""
        headers = {"idempotency-key": uuid.uuid4().hex}
        answer = self.request("POST", path, again=True, slow=slow, headers=headers, json=body)
        return answer.json() if answer.content else None

    @contextlib.contextmanager
    def stream(
        self, path: str, headers: Mapping[str, str] | None = None, read_timeout_s: float = 60.0, **params: Any
    ) -> Iterator[httpx.Response]:
        """GET whose body is read piece by piece; one try, errors as in `request`."""
        timeout = httpx.Timeout(30.0, connect=5.0, read=read_timeout_s)
        with (
            self._plain_errors(),
            self._http.stream(
                "GET",
                self.url(path),
                headers=self._with(headers),
                params=params,
                timeout=timeout,
            ) as response,
        ):
            if response.status_code >= 400:
                response.read()
                raise error_of(response)
            yield response

    def _with(self, headers: Mapping[str, str] | None) -> dict[str, str]:
        """A request's own headers, after those that all have: the key, and the trace if we are in one."""
        return {**outgoing(), **self._headers, **(headers or {})}

    @contextlib.contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except AimicError:
            raise
        except httpx.HTTPError as error:
            raise network_error(error, self._origin()) from error

    def _origin(self) -> str:
        return origin_of(self.base)


def origin_of(address: str) -> str:
    """Scheme, host and port of an address."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"


def network_error(error: httpx.HTTPError, origin: str) -> AimicError:
    """The error for a person when there was no answer: UnavailableError, or DeadlineError when it took too long."""
    if isinstance(error, httpx.ConnectError):
        return UnavailableError(f"AIMIC isn't running at {origin}; start it with `aimic up`.")
    if isinstance(error, httpx.TimeoutException):
        return DeadlineError(f"AIMIC at {origin} didn't answer in time. What it had acknowledged is kept; try again.")
    return UnavailableError(f"The connection to AIMIC at {origin} broke. What it had acknowledged is kept; try again.")


def _wish(answer: httpx.Response | AimicError) -> tuple[AimicError, float | None]:
    """The error of a failed try, and the seconds after which the server asks us to come again."""
    if isinstance(answer, httpx.Response):
        return error_of(answer), retry_after(answer)
    return answer, None


def _worth_it(answer: httpx.Response | AimicError, slow: bool) -> bool:
    """Whether the same request may do better later."""
    if isinstance(answer, httpx.Response):
        return answer.status_code in WORTH_ANOTHER_TRY and not (slow and answer.status_code == _TOO_LATE)
    return not (slow and isinstance(answer, DeadlineError))
