"""Runs in TorchServe's workers: a bundle, proven, and batches of ready pixels. TorchServe's plain handler contract.

A request is a whole batch: uint8 RGB [n, S, S, 3] in C order. Its answer: float32 little-endian logits [n, classes].
"""

import json
import logging
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from aimic.adapters.torchserve.archive import ASK, BUNDLE, PROMISED
from aimic.errors import AimicError, ConflictError, CorruptError, InvalidInputError
from aimic.nets.runner import Runner, best_device, load, use_threads


class Handler:
    """One worker's model. A bundle that is refused doesn't end the worker, which would only be started again: it
    answers why.
    """

    def __init__(self) -> None:
        self._runner: Runner | None = None
        self._refusal: AimicError | None = None

    def initialize(self, context: Any) -> None:
        """Verify, load and warm the bundle in the archive."""
        # Each line that a worker writes goes through TorchServe; of its metrics it must.
        logging.getLogger().setLevel(logging.WARNING)
        logging.getLogger("ts.metrics").setLevel(logging.INFO)
        wishes = context.manifest["aimic"]
        use_threads(wishes["threads"])
        bundle = Path(context.system_properties["model_dir"]) / BUNDLE
        try:
            runner = load(bundle, best_device(), Lock(), wishes["executor"])
            if runner.hash != wishes["bundle"]:
                raise CorruptError("This archive holds another model than it says. It is not used.")
        except AimicError as error:
            self._refusal = error
        else:
            self._runner = runner

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[bytes]:
        """The answer to each request; there is one at a time."""
        return [self._answer(index, row, context) for index, row in enumerate(data)]

    def _answer(self, index: int, row: dict[str, Any], context: Any) -> bytes:
        try:
            if context.get_request_header(index, ASK):
                return json.dumps(self._description()).encode()
            context.set_response_content_type(index, "application/octet-stream")
            return self._logits(row.get("body") or b"", context.get_request_header(index, PROMISED))
        except AimicError as error:
            context.set_response_status(error.status, error.code, index)
            return json.dumps({"code": error.code, "message": error.message}).encode()

    def _description(self) -> dict[str, Any]:
        runner = self._proven()
        return {
            "bundle_hash": runner.hash,
            "executor": runner.executor,
            "classes": runner.info.classes,
            "image_size": runner.info.preprocessing.image_size,
            "memory_bytes": max(runner.memory_bytes, _own_memory()),
        }

    def _logits(self, body: bytes, promised: str | None) -> bytes:
        runner = self._proven()
        if promised != runner.executor:
            raise ConflictError(f"This worker runs {runner.executor}, and its answer would name {promised}.")
        side = runner.info.preprocessing.image_size
        if len(body) % (side * side * 3):
            raise InvalidInputError(f"This model reads uint8 pixels of {side} × {side} × 3, not {len(body)} bytes.")
        pixels = np.frombuffer(body, np.uint8).reshape(-1, side, side, 3)
        return runner.logits(pixels).astype("<f4").tobytes()

    def _proven(self) -> Runner:
        if self._runner is None:
            raise self._refusal or CorruptError("This model was not loaded.")
        return self._runner


def _own_memory() -> int:
    """Bytes that this process shares with no other: its weights, and what torch needs once in each worker."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))
