"""What a history's caller does: uploads in pieces, imports, a job, sometimes an evaluation, a prediction."""

import base64
import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from aimic.domain.job import JobRequest, Status, TrainSettings
from aimic.domain.split import SplitRequest
from tests.faults.calls import PATIENCE_S, Calls, GaveUpError, checked
from tests.faults.histories import Plot
from tests.faults.pictures import Archive, archive
from tests.faults.told import Brought, Sent, Told, Trained

NETWORK = "shufflenet_v2_x1_0"
PIECE = 4 * 1024
POLL_S = 0.4
TUS = {"tus-resumable": "1.0.0"}
UNDISTURBED = "undisturbed-{plot}"
"""Name of the model of an undisturbed run."""


def settings_of(plot: Plot) -> TrainSettings:
    """A job of a few seconds."""
    kfold = SplitRequest(kind="kfold", k=2)
    if plot == "frozen":
        weights = f"model:{UNDISTURBED.format(plot='refit')}:1"
        return TrainSettings(networks=(NETWORK,), mode="frozen", weights=weights, split=kfold, image_size=32, threads=1)
    split = kfold if plot == "refit" else SplitRequest(kind="holdout", fraction=0.25)
    return TrainSettings(
        networks=(NETWORK,), split=split, epochs=3, batch_size=4, image_size=32, lr=5e-3, threads=1, augment="none"
    )


@dataclass
class Answered:
    """What a served model said of a picture."""

    bundle: str
    probabilities: dict[str, float]


class Scenario:
    """One run. What it is told it keeps in `told`; a broken promise that it sees itself, too."""

    def __init__(self, name: str, plot: Plot, evaluates: bool, ingest: Calls, inference: Calls) -> None:
        self.told = Told()
        self.answered: Answered | None = None
        self._name, self._plot, self._evaluates = name, plot, evaluates
        self._ingest, self._inference = ingest, inference

    def run(self, expected: str | None) -> None:
        """Everything, in order; `expected` is the bundle's hash that the job should give."""
        # Pictures of a plot are the same in every history, so that its bundle is; the others are new to the site.
        known, fresh = archive(f"plot-{self._plot}", 8), archive(f"new-{self._name}", 6)
        with ThreadPoolExecutor(1) as beside:
            other = beside.submit(self._bring_in, f"{self._name}-fresh", fresh)
            self._upload(known.data, leave=PIECE)
            self._bring_in(f"{self._name}-known", known)
            made = self._train(expected)
            other.result()
        if made is not None:
            self._use(*made, fresh.first)

    def _train(self, expected: str | None) -> tuple[str, str] | None:
        """Name and version of the model that the job made."""
        model = UNDISTURBED.format(plot=self._plot) if expected is None else f"disturbed-{self._plot}"
        request = JobRequest(dataset=f"{self._name}-known", model=model, settings=settings_of(self._plot))
        job = self._ingest.create("/api/v1/jobs", request.model_dump(mode="json"))
        self.told.trained.append(Trained(job["id"], expected))
        job = self._until(f"/api/v1/jobs/{job['id']}", lambda seen: Status(seen["status"]).over)
        if job["status"] != Status.DONE:
            self.told.wrong.append(f"the job ended as {job['status']}: {job['error']}")
            return None
        name, _, version = job["models"][0].rpartition(":")
        return name, version

    def _use(self, name: str, version: str, picture: bytes) -> None:
        """Classify a picture; meanwhile judge the model, when the history wants that."""
        if self._evaluates:
            path = f"/api/v1/models/{name}/versions/{version}/evaluate"
            evaluation = self._ingest.create(path, {"dataset": f"{self._name}-fresh"})
            self.told.trained.append(Trained(evaluation["id"], None))
        self._predict(name, version, picture)
        if self._evaluates:
            self._until(f"/api/v1/evaluations/{evaluation['id']}", lambda seen: Status(seen["status"]).over)

    def _bring_in(self, dataset: str, pictures: Archive) -> None:
        sent = self._upload(pictures.data)
        found = self._ingest.create("/api/v1/imports", {"dataset": dataset, "uploads": [sent.id]})
        sent.imported_by = found["id"]
        self.told.brought.append(Brought(found["id"], dataset, pictures.pixels))
        done = self._until(f"/api/v1/imports/{found['id']}", lambda seen: seen["status"] in {"done", "failed"})
        if done["status"] != "done":
            self.told.wrong.append(f"the import into {dataset} failed: {done['error']}")

    def _upload(self, data: bytes, leave: int = 0) -> Sent:
        """In pieces; each request goes to the next replica. What `leave` says is never sent: the rest must be kept."""
        named = base64.b64encode(b"cells.zip").decode()
        mark = base64.b64encode(hashlib.sha256(data + f"{self._name} {leave}".encode()).hexdigest().encode()).decode()
        head = TUS | {"upload-length": str(len(data)), "upload-metadata": f"filename {named},fingerprint {mark}"}
        made = checked(self._ingest.send("POST", "/api/v1/uploads", headers=head))
        sent = Sent(made.headers["location"].rpartition("/")[2], data)
        self.told.sent.append(sent)
        path, ends = f"/api/v1/uploads/{sent.id}", time.monotonic() + PATIENCE_S
        while sent.acknowledged < len(data) - leave:
            if time.monotonic() > ends:
                raise GaveUpError(f"The upload stopped at {sent.acknowledged} of {len(data)} bytes.")
            self._patch(path, sent)
        return sent

    def _patch(self, path: str, sent: Sent) -> None:
        piece = sent.data[sent.acknowledged : sent.acknowledged + PIECE]
        headers = TUS | {
            "upload-offset": str(sent.acknowledged),
            "upload-checksum": f"sha256 {base64.b64encode(hashlib.sha256(piece).digest()).decode()}",
            "content-type": "application/offset+octet-stream",
        }
        answer = self._ingest.once("PATCH", path, headers=headers, content=piece)
        if answer is None or answer.status_code in {409, 423}:
            time.sleep(POLL_S)
            answer = self._ingest.send("HEAD", path, headers=TUS)
        offset = int(checked(answer).headers["upload-offset"])
        if offset < sent.acknowledged:
            self.told.wrong.append(f"upload {sent.id}: {sent.acknowledged} bytes were safe, then {offset}")
        sent.acknowledged = max(sent.acknowledged, offset)

    def _predict(self, name: str, version: str, picture: bytes) -> None:
        """Ask until the version is served; it is soon."""
        path, ends = f"/inference/v1/models/{name}/versions/{version}/predict", time.monotonic() + PATIENCE_S
        files = [("images", ("cell.png", picture, "image/png"))]
        while (answer := self._inference.send("POST", path, files=files)).status_code == 404:
            if time.monotonic() > ends:
                raise GaveUpError(f"{name}:{version} was not served in {PATIENCE_S:.0f} s")
            time.sleep(POLL_S)
        said = checked(answer).json()["results"][0]["answer"]
        self.answered = Answered(said["bundle_hash"], said["probabilities"])

    def _until(self, path: str, over: Callable[[Any], bool]) -> Any:
        ends = time.monotonic() + PATIENCE_S
        while not over(seen := self._ingest.get(path)):
            if time.monotonic() > ends:
                raise GaveUpError(f"{path} did not end in {PATIENCE_S:.0f} s: {str(seen)[:500]}")
            time.sleep(POLL_S)
        return seen
