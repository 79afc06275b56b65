"""Calls to TorchServe, with its tokens. Each ends by its deadline, whatever TorchServe does."""

import time
from collections.abc import Mapping
from urllib.parse import urlencode

from aimic.adapters.torchserve.ground import SURFACES, Ground, Settings
from aimic.adapters.torchserve.tokens import Tokens
from aimic.adapters.torchserve.wire import Answer, Wire
from aimic.errors import UnavailableError

_NEW_TOKEN_S = 3.0
_REFUSED = b"InvalidKeyException"


class Calls:
    """Of one running TorchServe. Thread-safe."""

    def __init__(self, ground: Ground, settings: Settings) -> None:
        self._wires = {surface: Wire(ground.socket(surface)) for surface in SURFACES}
        self.tokens = Tokens(ground.key_file, settings.token_minutes, self._ask_for_token)

    def close(self) -> None:
        """Keep no connection any longer."""
        for wire in self._wires.values():
            wire.close()

    def infer(self, model: str, body: bytes, timeout_s: float, told: Mapping[str, str]) -> Answer:
        """Its worker's answer; `told` are headers for our handler. DeadlineError, or UnavailableError when TorchServe
        is away.
        """
        headers = {"content-type": "application/octet-stream", **told}
        return self._authorised("inference", "POST", _predictions(model), timeout_s, headers, body)

    def abandon(self, model: str) -> None:
        """Nobody waits for this model any longer: TorchServe forgets those who do when its worker goes."""
        self._wires["inference"].abandon(_predictions(model))

    def manage(self, method: str, path: str, timeout_s: float, **query: str | int) -> Answer:
        """An answer about models; errors as in `infer`."""
        target = f"{path}?{urlencode(query)}" if query else path
        return self._authorised("management", method, target, timeout_s, {}, None)

    def metrics(self, timeout_s: float) -> str:
        """What TorchServe counts, in Prometheus' text form; errors as in `infer`."""
        answer = self._wires["metrics"].call("GET", "/metrics", time.monotonic() + timeout_s, {})
        return answer.body.decode() if answer.status == 200 else ""

    def _ask_for_token(self, kind: str, key: str, timeout_s: float) -> None:
        ends = time.monotonic() + min(_NEW_TOKEN_S, timeout_s)
        answer = self._wires["management"].call("GET", f"/token?type={kind}", ends, _bearer(key))
        if answer.status != 200:
            raise UnavailableError(f"TorchServe gave no new token: {answer.text}")

    def _authorised(
        self, surface: str, method: str, target: str, timeout_s: float, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        ends = time.monotonic() + timeout_s
        wire, token = self._wires[surface], self.tokens.get(surface)
        answer = wire.call(method, target, ends, {**headers, **_bearer(token)}, body)
        if answer.status == 400 and _REFUSED in answer.body:
            token = self.tokens.newer(surface, token, ends - time.monotonic())
            answer = wire.call(method, target, ends, {**headers, **_bearer(token)}, body)
        return answer


def _predictions(model: str) -> str:
    return f"/predictions/{model}"


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}
