"""Calls to TorchServe over its sockets. Each ends by its deadline, whatever TorchServe does."""

import time
from collections.abc import Mapping
from typing import Any

import httpx

from aimic.adapters.torchserve.archive import ASK
from aimic.adapters.torchserve.ground import SURFACES, Ground, Settings
from aimic.adapters.torchserve.tokens import Tokens
from aimic.errors import DeadlineError, UnavailableError

_NEW_TOKEN_S = 3.0
_UNAUTHORISED = "InvalidKeyException"


class Until(dict[str, float | None]):
    """httpx asks anew for each step (connecting, writing, reading) how long it may take: what is left of the whole."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        super().__init__()

    @property
    def left(self) -> float:
        """Seconds, at least a hundredth: none at all would mean without waiting, to a socket."""
        return max(0.01, self.end - time.monotonic())

    def get(self, _step: str, _default: Any = None) -> Any:
        """See the class."""
        return self.left


class Calls:
    """Connections to one running TorchServe, with its tokens. Thread-safe."""

    def __init__(self, ground: Ground, settings: Settings) -> None:
        self._clients = {name: _client(str(ground.socket(name))) for name in SURFACES}
        self.tokens = Tokens(ground.key_file, settings.token_minutes, self._ask_for_token)

    def close(self) -> None:
        """Close every connection; calls under way end with UnavailableError."""
        for client in self._clients.values():
            client.close()

    def infer(self, model: str, body: bytes, timeout_s: float, *, ask: str = "") -> httpx.Response:
        """Its worker's answer. DeadlineError, or UnavailableError when TorchServe is away."""
        headers = {"content-type": "application/octet-stream"} | ({ASK: ask} if ask else {})
        return self._authorised("inference", "POST", f"/predictions/{model}", timeout_s, headers, content=body)

    def manage(self, method: str, path: str, timeout_s: float, **query: str | int) -> httpx.Response:
        """An answer about models; errors as in `infer`."""
        return self._authorised("management", method, path, timeout_s, {}, params=query)

    def metrics(self, timeout_s: float) -> str:
        """What TorchServe counts, in Prometheus' text form; errors as in `infer`."""
        answer = self._call("metrics", "GET", "/metrics", Until(timeout_s), {})
        return answer.text if answer.status_code == httpx.codes.OK else ""

    def _ask_for_token(self, kind: str, key: str) -> None:
        query = {"type": kind}
        answer = self._call("management", "GET", "/token", Until(_NEW_TOKEN_S), _bearer(key), params=query)
        if answer.status_code != httpx.codes.OK:
            raise UnavailableError(f"TorchServe gave no new token: {answer.text[:200]}")

    def _authorised(
        self, surface: str, method: str, path: str, timeout_s: float, headers: Mapping[str, str], **more: Any
    ) -> httpx.Response:
        until = Until(timeout_s)
        token = self.tokens.get(surface)
        answer = self._call(surface, method, path, until, {**headers, **_bearer(token)}, **more)
        if answer.status_code == httpx.codes.BAD_REQUEST and _UNAUTHORISED in answer.text:
            token = self.tokens.newer(surface, token, until.left)
            answer = self._call(surface, method, path, until, {**headers, **_bearer(token)}, **more)
        return answer

    def _call(
        self, surface: str, method: str, path: str, until: Until, headers: Mapping[str, str], **more: Any
    ) -> httpx.Response:
        try:
            return self._clients[surface].request(method, path, headers=headers, extensions={"timeout": until}, **more)
        except httpx.TimeoutException as error:
            raise DeadlineError(
                "The network gave no answer in the time there was. Ask again, or with a later deadline."
            ) from error
        except (httpx.TransportError, RuntimeError) as error:  # RuntimeError: closed while it was asked
            raise UnavailableError(
                "The program that runs the networks went away; it is started again. Ask again in a few seconds.",
                retry_after_s=2,
            ) from error


def _client(socket: str) -> httpx.Client:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=16, keepalive_expiry=60)
    return httpx.Client(base_url="http://torchserve", transport=httpx.HTTPTransport(uds=socket, limits=limits))


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}
