"""One running TorchServe: its process and the calls to it."""

import json
import time
from typing import NamedTuple

from aimic.adapters.torchserve.archive import ASK, HANDLER
from aimic.adapters.torchserve.calls import Calls
from aimic.adapters.torchserve.child import Child
from aimic.adapters.torchserve.ground import Ground, Settings
from aimic.adapters.torchserve.wire import Answer
from aimic.errors import (
    AimicError,
    CorruptError,
    DeadlineError,
    InvalidInputError,
    NotFoundError,
    OverloadedError,
    UnavailableError,
)
from aimic.ports.predictor import LoadedModel

_DESCRIBE_S = 60.0
_ERRORS: dict[str, type[AimicError]] = {
    error.code: error for error in (CorruptError, InvalidInputError, NotFoundError, DeadlineError, OverloadedError)
}


class Worker(NamedTuple):
    """A model's worker, as TorchServe sees it."""

    pid: int | None
    """While another starts, that of the one before."""
    ready: bool


class Front:
    """Started, and ready to be asked once `wait` returns."""

    def __init__(self, ground: Ground, settings: Settings) -> None:
        """Start it."""
        self._settings = settings
        self.child = Child(ground)
        self.calls = Calls(ground, settings)

    def wait(self) -> None:
        """Until it answers. UnavailableError when it ends before, or takes too long."""
        end = time.monotonic() + self._settings.start_s
        while self.child.running and time.monotonic() < end:
            try:
                if self.calls.manage("GET", "/models", self._settings.manage_s).status == 200:
                    return
            except (UnavailableError, DeadlineError):
                pass
            time.sleep(0.05)
        raise UnavailableError(f"TorchServe did not start. It said: {self.child.last_words or 'nothing'}")

    def close(self) -> None:
        """End it."""
        self.child.close()
        self.calls.close()

    def register(self, name: str) -> LoadedModel:
        """Start the worker of the archive of this name, which proves its bundle; what it says of it.

        CorruptError and InvalidInputError when the bundle is refused, UnavailableError when there is no worker.
        """
        settings = self._settings
        try:
            answer = self.calls.manage(
                "POST", "/models", settings.start_s + settings.manage_s,
                url=name, model_name=name, handler=HANDLER, runtime="python", batch_size=1,
                initial_workers=1, synchronous="true",
                response_timeout=max(1, round(settings.worker_s)), startup_timeout=round(settings.start_s),
            )  # fmt: skip
            if answer.status != 200:
                raise UnavailableError(f"The program that runs this model did not start: {answer.text}")
            said = self.calls.infer(name, b"", _DESCRIBE_S, {ASK: "description"})
            if said.status != 200:
                raise problem(said)
            return LoadedModel.model_validate_json(said.body).model_copy(update={"name": name})
        except DeadlineError as error:
            raise UnavailableError("The program that runs this model did not start in time.") from error

    def unregister(self, name: str) -> bool:
        """End the model's worker, and the calls that wait for it. Whether TorchServe says that there is none now."""
        try:
            gone = self.calls.manage("DELETE", f"/models/{name}", 2 * self._settings.manage_s).status in (200, 404)
        except (UnavailableError, DeadlineError):
            gone = False
        self.calls.abandon(name)
        return gone

    def worker(self, name: str) -> Worker:
        """The model's worker."""
        answer = self.calls.manage("GET", f"/models/{name}", self._settings.manage_s)
        if answer.status != 200:
            return Worker(None, False)
        workers = [worker for model in json.loads(answer.body) for worker in model["workers"]]
        pid = next((worker["pid"] for worker in workers if worker["pid"] > 0), None)
        return Worker(pid, any(worker["status"] == "READY" for worker in workers))


def problem(answer: Answer) -> AimicError:
    """The error of an answer that is none: our handler's own, or what TorchServe says of its workers."""
    try:
        said = json.loads(answer.body)
    except ValueError:
        said = None
    kind = _ERRORS.get(str(said.get("code"))) if isinstance(said, dict) else None
    if kind is not None:
        return kind(str(said["message"]))
    return UnavailableError(
        "The program that runs this model died or could not answer; it is started again. Ask again in a few seconds.",
        retry_after_s=2,
        said=answer.text,
    )
