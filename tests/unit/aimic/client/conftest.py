"""A small REST server in the same process, whose network can be made to fail."""

import base64
import hashlib
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from aimic.client import Client, Retry
from aimic.client.retry import Waiting, silently

Handler = Callable[[httpx.Request], httpx.Response]


class Server:
    """Routes by (method, path pattern); `faults` are raised or answered first, one per request that matches."""

    def __init__(self) -> None:
        self.routes: list[tuple[str, re.Pattern[str], Handler]] = []
        self.faults: list[tuple[str, Exception | httpx.Response]] = []
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []

    def on(self, method: str, pattern: str, answer: Handler | Any) -> None:
        handler = answer if callable(answer) else (lambda _: httpx.Response(200, json=answer))
        self.routes.append((method, re.compile(pattern), handler))

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        if self.faults and self.faults[0][0] == request.method:
            fault = self.faults.pop(0)[1]
            if isinstance(fault, Exception):
                raise fault
            return fault
        for method, pattern, handler in self.routes:
            if method == request.method and pattern.fullmatch(request.url.path):
                return handler(request)
        return problem(404, "not_found", f"nothing at {request.method} {request.url.path}")

    def client(self, waiting: Waiting = silently, **more: Any) -> Client:
        http = httpx.Client(transport=httpx.MockTransport(self))
        retry = Retry(sleep=self.waits.append, waiting=waiting)
        return Client("http://aimic.test", retry=retry, http=http, **more)


def problem(status: int, code: str, detail: str, **more: Any) -> httpx.Response:
    body = {"code": code, "detail": detail, "status": status, "request_id": "r1", **more}
    return httpx.Response(status, json=body, headers={"content-type": "application/problem+json"})


class Tus:
    """The parts of tus 1.0 that the client uses, with the fingerprint rule of our ingest."""

    def __init__(self, server: Server) -> None:
        self.stored: dict[str, bytearray] = {}
        self.lengths: dict[str, int] = {}
        self.by_fingerprint: dict[str, str] = {}
        self.most: int | None = None
        server.on("POST", "/api/v1/uploads", self.create)
        server.on("PATCH", "/api/v1/uploads/[^/]+", self.patch)
        server.on("HEAD", "/api/v1/uploads/[^/]+", self.head)

    def create(self, request: httpx.Request) -> httpx.Response:
        metadata = dict(pair.split(" ") for pair in request.headers["upload-metadata"].split(","))
        fingerprint = base64.b64decode(metadata["fingerprint"]).decode()
        status = 200 if fingerprint in self.by_fingerprint else 201
        name = self.by_fingerprint.setdefault(fingerprint, f"u{len(self.stored) + 1}")
        self.stored.setdefault(name, bytearray())
        self.lengths[name] = int(request.headers["upload-length"])
        headers = {"location": f"/api/v1/uploads/{name}", "upload-offset": str(len(self.stored[name]))}
        return httpx.Response(status, headers=headers)

    def patch(self, request: httpx.Request) -> httpx.Response:
        name = request.url.path.rsplit("/", 1)[-1]
        if name not in self.stored:
            return httpx.Response(404)
        if int(request.headers["upload-offset"]) != len(self.stored[name]):
            return problem(409, "conflict", "wrong offset")
        algorithm, digest = request.headers["upload-checksum"].split(" ")
        assert algorithm == "sha256"
        assert base64.b64decode(digest) == hashlib.sha256(request.content).digest()
        self.stored[name] += request.content[: self.most]
        return httpx.Response(204, headers={"upload-offset": str(len(self.stored[name]))})

    def head(self, request: httpx.Request) -> httpx.Response:
        name = request.url.path.rsplit("/", 1)[-1]
        if name not in self.stored:
            return httpx.Response(404)
        headers = {
            "upload-offset": str(len(self.stored[name])),
            "upload-length": str(self.lengths[name]),
        }
        return httpx.Response(200, headers=headers)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def tus(server: Server) -> Tus:
    return Tus(server)
