"""One small model, a registry that lists it, and an inference pod as a real process."""

import http.server
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import grpc
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


def picture(number: int, form: str = "JPEG") -> bytes:
    """A drawn picture, another for each number."""
    blocks = np.random.default_rng(number).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(blocks).resize((90, 80)).save(out, form)
    return out.getvalue()


def export(directory: Path) -> tuple[Path, str]:
    """An exported bundle, made in the directory, and its hash."""
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


@contextmanager
def registry(file: Path, digest: str) -> Iterator[http.server.ThreadingHTTPServer]:
    """Answers what ingest answers: the bundle serves as `cells`, version 1. Shut it down to see it away."""
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

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def address(server: http.server.ThreadingHTTPServer) -> str:
    """Of a registry."""
    return f"http://127.0.0.1:{server.server_port}"


class Pod:
    """`python -m services.inference` with ports of its own."""

    def __init__(self, home: Path, ingest: str, **environment: str) -> None:
        self.rest, self.grpc, self.ops = free_ports(3)
        self.log = home / "log"
        home.mkdir(exist_ok=True)
        settings = {
            "AIMIC_HOME": str(home),
            "AIMIC_INGEST_URL": ingest,
            "AIMIC_INFERENCE_PORT": str(self.rest),
            "AIMIC_INFERENCE_GRPC_PORT": str(self.grpc),
            "AIMIC_INFERENCE_OPS_PORT": str(self.ops),
            "AIMIC_INFERENCE_DECODERS": "1",
            "AIMIC_INFERENCE_POLL_S": "0.2",
            **environment,
        }
        with self.log.open("w") as log:
            command = (sys.executable, "-m", "services.inference")
            self.process = subprocess.Popen(command, stderr=log, env={**os.environ, **settings})

    def __enter__(self) -> Self:
        try:
            return self.wait()
        except BaseException:
            self.stop(signal.SIGKILL)
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self, seconds: float = START_S) -> Self:
        """Until it is ready."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if httpx.get(f"http://127.0.0.1:{self.ops}/readyz").status_code == 200:
                    return self
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def ask(self, *images: bytes, **headers: str) -> httpx.Response:
        """The model's answer."""
        return httpx.post(
            f"http://127.0.0.1:{self.rest}/inference/v1/models/cells/predict",
            files=[("images", (f"{number}.jpg", data)) for number, data in enumerate(images)],
            headers=headers,
            timeout=60,
        )

    def channel(self) -> grpc.Channel:
        """To its gRPC, whatever a message's size."""
        return grpc.insecure_channel(f"127.0.0.1:{self.grpc}", options=(("grpc.max_send_message_length", -1),))

    def metrics(self, accept: str = "text/plain") -> httpx.Response:
        """What its operations port tells."""
        return httpx.get(f"http://127.0.0.1:{self.ops}/metrics", headers={"accept": accept}, timeout=30)

    def lines(self) -> list[dict[str, Any]]:
        """Of its log; the last one may be on its way."""
        return [json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("}\n")]

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Seconds that it took to end."""
        started = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(90)
        finally:
            self.process.kill()
        return time.monotonic() - started
