"""A TorchServe that we play; the real one is in tests/serving."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from aimic.adapters.torchserve.archive import PROMISED
from aimic.adapters.torchserve.front import Worker
from aimic.adapters.torchserve.wire import Answer
from aimic.errors import ConflictError, UnavailableError
from aimic.ports.predictor import LoadedModel

EAGER, OTHER = "torch-eager-fp32-cpu", "onnxruntime-fp32-cpu"
HASH = "ab" * 32
SIDE = 8


class Played:
    """Its workers do what their archives' manifests say, unless that is something that they `cannot`: then eagerly.

    It may let none go and start none, and none may answer.
    """

    def __init__(self, store: Path) -> None:
        self.store = store
        self.child = SimpleNamespace(running=True)
        self.calls = SimpleNamespace(tokens=SimpleNamespace(renew_due=lambda: None), infer=self.infer)
        self.models: dict[str, str] = {}
        """The executor of each model's worker."""
        self.cannot: set[str] = set()
        self.lets_go = self.starts = self.answers = True
        self.did: list[str] = []

    def start(self, name: str) -> None:
        """A worker starts: because it was told to, or because the one before died."""
        manifest = json.loads((self.store / name / "MAR-INF/MANIFEST.json").read_bytes())
        wish = manifest["aimic"]["executor"] or EAGER
        self.models[name] = EAGER if wish in self.cannot else wish

    def register(self, name: str) -> LoadedModel:
        """See Front."""
        self.did.append(f"register {name}")
        if name in self.models or not self.starts:
            raise UnavailableError("It did not start.")
        self.start(name)
        if not self.answers:
            raise UnavailableError("It did not answer.")
        runs = self.models[name]
        return LoadedModel(name=name, bundle_hash=HASH, executor=runs, classes=("a",), image_size=SIDE, memory_bytes=1)

    def unregister(self, name: str) -> bool:
        """See Front."""
        if self.lets_go:
            self.models.pop(name, None)
        return self.lets_go

    def worker(self, name: str) -> Worker:
        """See Front."""
        self.did.append(f"look at {name}")
        return Worker(7, ready=True)

    def infer(self, name: str, body: bytes, _timeout_s: float, told: Mapping[str, str]) -> Answer:
        """See Calls."""
        if told[PROMISED] != self.models[name]:
            return Answer(ConflictError.status, b'{"code": "conflict", "message": "It runs another one."}')
        return Answer(200, np.zeros(len(body) // (3 * SIDE**2), "<f4").tobytes())
