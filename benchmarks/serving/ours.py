"""The real service, as it is started for users, beside a registry that answers what ingest answers."""

import json
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from benchmarks.serving.load import HOST, Plan
from benchmarks.serving.material import MULTIPART, Material
from benchmarks.serving.programs import Program, at_root, module
from services.local.servers.ports import free_ports

PODS = {"in-process pod": "local://", "TorchServe pod": "torchserve://"}
IN_PROCESS, ON_TORCHSERVE = PODS
_EXECUTOR = re.compile(r"/api/v1/models/.+/executors/.+")
_LISTED_S = 30


class Registry:
    """Lists the networks as models that serve, hands out their bundles, and keeps what was chosen to run them."""

    def __init__(self, material: Material, networks: Sequence[str]) -> None:
        packed = {name: material.bundle(name) for name in networks}
        entries = [
            {"name": name, "version": 1, "bundle_hash": each.hash, "stage": "serving", "bundle_url": f"/{name}.tar"}
            for name, each in packed.items()
        ]
        self._listed = json.dumps({"items": entries}).encode()
        self._files = {f"/{name}.tar": each.file for name, each in packed.items()}
        self._kept: dict[str, bytes] = material.executors

    def get(self, path: str) -> bytes | None:
        """What a GET answers; None for nothing."""
        if path.startswith("/api/v1/serving"):
            return self._listed
        file = self._files.get(path)
        return self._kept.get(path) if file is None else file.read_bytes()

    def put(self, path: str, body: bytes) -> bytes | None:
        """The first choice holds."""
        return self._kept.setdefault(path, body) if _EXECUTOR.fullmatch(path) else None

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Its address, while the block lasts."""
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(registry.get(self.path))

            def do_PUT(self) -> None:
                self._answer(registry.put(self.path, self.rfile.read(int(self.headers["content-length"]))))

            def _answer(self, body: bytes | None) -> None:
                self.send_response(404 if body is None else 200)
                self.send_header("content-length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        with ThreadingHTTPServer((HOST, 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            yield f"http://{HOST}:{server.server_port}"
            server.shutdown()
            thread.join()


class Pod:
    """One process of the service with these networks. Use it as a context; NotStartedError when it can't be."""

    def __init__(self, material: Material, kind: str, networks: Sequence[str]) -> None:
        self._material, self._kind, self._networks = material, kind, networks
        self._undo = ExitStack()
        self.rest = self.grpc = self.ops = 0
        """Its ports, once it has started."""

    def __enter__(self) -> "Pod":
        self.rest, self.grpc, self.ops = free_ports(3)
        home = self._material.home / self._kind.replace(" ", "-") / str(self.rest)
        with ExitStack() as undo:
            registry = undo.enter_context(Registry(self._material, self._networks).serving())
            settings = at_root(
                AIMIC_HOME=str(home),
                AIMIC_INGEST_URL=registry,
                AIMIC_PREDICTOR_URL=PODS[self._kind],
                AIMIC_INFERENCE_EXECUTOR=self._material.size.executor,
                AIMIC_INFERENCE_PORT=str(self.rest),
                AIMIC_INFERENCE_GRPC_PORT=str(self.grpc),
                AIMIC_INFERENCE_OPS_PORT=str(self.ops),
                # Asked rarely, so that the registry, which is no part of this, takes no time.
                AIMIC_INFERENCE_POLL_S=str(_LISTED_S),
            )
            program = undo.enter_context(Program(module("services.inference"), home, settings))
            program.wait(f"http://{HOST}:{self.ops}/readyz")
            for network in self._networks:  # it answers before it is measured what runs it fastest
                program.wait(f"http://{HOST}:{self.rest}/inference/v1/models/{network}", _settled)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def one(self, network: str, **more: Any) -> Plan:
        """Requests of one image each."""
        return self._plan(network, content_type="image/jpeg", bodies=self._material.images, **more)

    def all(self, network: str, **more: Any) -> Plan:
        """Requests of all images at once."""
        return self._plan(network, content_type=MULTIPART, bodies=(self._material.multipart,), **more)

    def executor(self, network: str) -> str:
        """How the network runs here."""
        answer = httpx.get(f"http://{HOST}:{self.rest}/inference/v1/models/{network}", timeout=30, trust_env=False)
        return str(answer.json()["executor"])

    def _plan(self, network: str, **more: Any) -> Plan:
        return Plan(port=self.rest, target=f"/inference/v1/models/{network}/predict", **more)


def _settled(answer: httpx.Response) -> bool:
    return answer.json()["reason"] is None
