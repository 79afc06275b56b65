"""An inference process with one small model, for tests that watch it."""

import http.server
import io
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import numpy as np
import torch
from PIL import Image

from aimic.nets import bundle
from aimic.nets.info import Member
from aimic.nets.package import Training, package
from aimic.nets.weights import Weights
from aimic.nets.zoo import build
from services.local.servers.ports import free_ports

CLASSES = ("round", "lobed", "granular")
START_S = 120.0


def picture(number: int) -> bytes:
    """A drawn picture, another for each number."""
    blocks = np.random.default_rng(number).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(blocks).resize((90, 80)).save(out, "JPEG")
    return out.getvalue()


def export(directory: Path) -> tuple[Path, str]:
    """An exported bundle and its hash."""
    net = build("shufflenet_v2_x1_0", len(CLASSES), 64, Weights.none(), seed=1)
    with torch.no_grad():
        net.head.weight.mul_(40)  # random networks hardly tell pictures apart; this one must
    training = Training(
        classes=CLASSES,
        manifest_hash="ab" * 32,
        membership=(Member(sha256="cd" * 32, phash="0123456789abcdef", fold=0),),
        split={},
        settings={},
        metrics={},
        class_mix=(1, 1, 1),
    )
    digest = package(directory / "made", net, training)
    bundle.export(directory / "made", directory / "bundle.tar")
    return directory / "bundle.tar", digest


class Pod:
    """`python -m services.inference` on `home`, and a registry that lists its model as `cells`, version 1."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.rest, self.grpc, self.ops = free_ports(3)
        file, self.bundle = export(home)
        self._registry = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _registry(file, self.bundle))
        self._thread = threading.Thread(target=self._registry.serve_forever, kwargs={"poll_interval": 0.05})
        self._log = home / "log"
        self._environment = {
            **os.environ,
            "AIMIC_HOME": str(home / "home"),
            "AIMIC_INGEST_URL": f"http://127.0.0.1:{self._registry.server_port}",
            "AIMIC_INFERENCE_PORT": str(self.rest),
            "AIMIC_INFERENCE_GRPC_PORT": str(self.grpc),
            "AIMIC_INFERENCE_OPS_PORT": str(self.ops),
            "AIMIC_INFERENCE_DECODERS": "1",
            "AIMIC_INFERENCE_POLL_S": "0.2",
            **environment,
        }

    def ask(self, *images: bytes, **headers: str) -> httpx.Response:
        """The model's answer."""
        url = f"http://127.0.0.1:{self.rest}/inference/v1/models/cells/predict"
        files = [("images", (f"{number}.jpg", data)) for number, data in enumerate(images)]
        return httpx.post(url, files=files, headers=headers, timeout=30)

    def metrics(self, accept: str = "text/plain") -> httpx.Response:
        """What its operations port tells."""
        return httpx.get(f"http://127.0.0.1:{self.ops}/metrics", headers={"accept": accept}, timeout=30)

    def log(self) -> list[dict[str, Any]]:
        """The lines of its log; the last one may be on its way."""
        return [json.loads(line) for line in self._log.read_text().splitlines(keepends=True) if line.endswith("}\n")]

    def __enter__(self) -> Self:
        self._thread.start()
        with self._log.open("w") as log:
            command = (sys.executable, "-m", "services.inference")
            self._process = subprocess.Popen(command, stderr=log, env=self._environment)
        end = time.monotonic() + START_S
        while not self._is_ready():
            assert time.monotonic() < end and self._process.poll() is None, self._log.read_text()
            time.sleep(0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._registry.shutdown()
        self._thread.join()
        self._registry.server_close()

    def stop(self) -> int:
        """End it politely; its exit code."""
        self._process.terminate()
        try:
            return self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.ops}/readyz").status_code == 200
        except httpx.TransportError:
            return False


def _registry(file: Path, digest: str) -> type[http.server.BaseHTTPRequestHandler]:
    entry = {"name": "cells", "version": 1, "bundle_hash": digest, "stage": "serving", "bundle_url": "/bundle"}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = file.read_bytes() if self.path == "/bundle" else json.dumps({"items": [entry]}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
