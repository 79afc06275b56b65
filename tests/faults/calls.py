"""Calls as a patient client makes them: each to the next replica, again after whatever may pass."""

import itertools
import time
import uuid
from typing import Any

import httpx

TIMEOUT = httpx.Timeout(12.0, connect=2.0)
PATIENCE_S = 240.0
PAUSE_S = 0.25
PASSING = frozenset({408, 425, 429, 502, 503, 504})


class GaveUpError(Exception):
    """No good answer within PATIENCE_S."""


class Calls:
    """HTTP to several replicas of one service."""

    def __init__(self, urls: tuple[str, ...]) -> None:
        self._clients = [httpx.Client(base_url=url, timeout=TIMEOUT, trust_env=False) for url in urls]
        self._turns = itertools.cycle(self._clients)
        self.broken: list[str] = []
        """Answers that nobody may get, whatever is away: 500 and the like, 503 without Retry-After."""

    def once(self, method: str, path: str, **more: Any) -> httpx.Response | None:
        """One try at the next replica; None when no answer came, or one that asks to come again."""
        try:
            answer = next(self._turns).request(method, path, **more)
        except httpx.TransportError:
            return None
        self._look_at(answer)
        return None if answer.status_code in PASSING or answer.status_code >= 500 else answer

    def send(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Tries until there is an answer that is no passing trouble; GaveUpError."""
        ends = time.monotonic() + PATIENCE_S
        while (answer := self.once(method, path, **more)) is None:
            if time.monotonic() > ends:
                raise GaveUpError(f"{method} {path}: no good answer in {PATIENCE_S:.0f} s; last: {self.broken[-1:]}")
            time.sleep(PAUSE_S)
        return answer

    def get(self, path: str, **params: Any) -> Any:
        """The JSON at a path."""
        return checked(self.send("GET", path, params=params)).json()

    def create(self, path: str, body: dict[str, Any]) -> Any:
        """POST under one Idempotency-Key, however often it has to be sent."""
        headers = {"idempotency-key": uuid.uuid4().hex}
        return checked(self.send("POST", path, json=body, headers=headers)).json()

    def close(self) -> None:
        """Let go of connections."""
        for client in self._clients:
            client.close()

    def _look_at(self, answer: httpx.Response) -> None:
        where = f"{answer.request.method} {answer.request.url.path} → {answer.status_code} {answer.text[:300]}"
        if answer.status_code >= 500 and answer.status_code not in PASSING:
            self.broken.append(where)
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE and "retry-after" not in answer.headers:
            self.broken.append(f"without Retry-After: {where}")


def checked(answer: httpx.Response) -> httpx.Response:
    """The answer, when it is a good one; AssertionError with what it says otherwise."""
    assert answer.is_success, f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text}"
    return answer
