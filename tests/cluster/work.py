"""What a laboratory does: import, train, classify. By the Python client, through the edge."""

import asyncio
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx

from aimic.client import Client, Retry
from aimic.client.predict_grpc import GrpcClient
from aimic.domain.dataset import LabelRule
from aimic.domain.job import Job, JobRequest, Status, TrainSettings
from aimic.domain.prediction import Answer, PredictResponse
from aimic.domain.split import SplitRequest
from services.local.demo.cells import KINDS, draw_set
from services.local.servers.ports import free_ports
from tests.cluster.kubernetes import Cluster, until

DATASET = "drawn-cells"
EPOCHS = 6
SETTINGS = TrainSettings(
    networks=("shufflenet_v2_x1_0",),
    split=SplitRequest(kind="kfold", k=3),
    epochs=EPOCHS,
    lr=3e-3,
    batch_size=16,
    image_size=64,
    threads=1,
)
CLOSE = 1e-3
PATIENT = Retry(attempts=40, first_s=0.2, longest_s=2.0)


@dataclass(frozen=True)
class Laboratory:
    """One installation, and the pictures that are sent to it."""

    client: Client
    edge: str
    key: str
    authority: Path
    pictures: Path

    def bring(self) -> str:
        """Draw a data set and import it; says what came of it."""
        count = draw_set(self.pictures)
        done = self.client.datasets.import_(self.pictures, DATASET, LabelRule(group_pattern=r"/(P\d+)_"))
        if done.version is None:
            raise RuntimeError(f"the import ended without a version: {done.error}")
        version = self.client.datasets.version(DATASET, done.version)
        if version is None or sum(version.counts) == 0:
            raise RuntimeError("the data set is empty")
        return f"{count} images drawn, {sum(version.counts)} imported"

    def start(self, model: str, epochs: int = EPOCHS) -> Job:
        """Ask for a training."""
        settings = SETTINGS.model_copy(update={"epochs": epochs})
        return self.client.jobs.create(JobRequest(dataset=DATASET, model=model, settings=settings))

    def still_runs(self, job: Job) -> None:
        """RuntimeError when it is over: then nothing was disturbed."""
        if self.client.jobs.show(job.id).status.over:
            raise RuntimeError("the training was over before this pod was killed: give it more epochs")

    def finish(self, job: Job, seconds: float = 600.0) -> Job:
        """Wait for its end, which has to be a good one."""
        until(f"job {job.id} ends", lambda: self.client.jobs.show(job.id).status.over, seconds)
        ended = self.client.jobs.show(job.id)
        if ended.status is not Status.DONE:
            raise RuntimeError(f"the job is {ended.status}: {ended.error}")
        return ended

    def files(self) -> list[Path]:
        """A picture of each kind."""
        return [next(iter(sorted((self.pictures / kind).glob("*.png")))) for kind in KINDS]

    def rest(self, model: str) -> PredictResponse:
        """Classify over REST."""
        return self.client.predict(model, self.files())

    def over_grpc(self, model: str) -> PredictResponse:
        """Classify over gRPC."""

        async def ask() -> PredictResponse:
            credentials = grpc.ssl_channel_credentials(self.authority.read_bytes())
            asked = GrpcClient(self.edge, self.key, credentials=credentials, retry=PATIENT)
            try:
                return await asked.predict(model, self.files())
            finally:
                await asked.aclose()

        return asyncio.run(ask())


def same(one: PredictResponse, other: PredictResponse) -> None:
    """RuntimeError unless both say the same of every picture, by the same bundle on the same executor."""
    said, heard = _said(one, {"request_id"}), _said(other, {"request_id"})
    if said != heard:
        raise RuntimeError(f"answers differ: {said} and {heard}")


def alike(one: PredictResponse, other: PredictResponse) -> None:
    """As `same`, where the executor may be another by now: it was chosen by measuring, and answers within 1e-3."""
    numbers = {"request_id", "executor", "probabilities"}
    if _said(one, numbers) != _said(other, numbers):
        raise RuntimeError(f"answers differ: {one} and {other}")
    for mine, theirs in zip(_answers(one), _answers(other), strict=True):
        if any(abs(value - theirs.probabilities[name]) > CLOSE for name, value in mine.probabilities.items()):
            raise RuntimeError(f"probabilities differ: {mine} and {theirs}")


def _answers(response: PredictResponse) -> list[Answer]:
    found = [each.answer for each in response.results if each.answer is not None]
    if len(found) < len(response.results):
        raise RuntimeError(f"pictures without an answer: {response}")
    return found


def _said(response: PredictResponse, without: set[str]) -> list[dict[str, Any]]:
    return [each.model_dump(exclude=without) for each in _answers(response)]


@contextmanager
def laboratory(cluster: Cluster) -> Iterator[Laboratory]:
    """An installation, reached through its edge by whoever trusts its authority and has its key."""
    (port,) = free_ports(1)
    key = cluster.secret("aimic-keys", "api-key")
    edge = f"localhost:{port}"
    with ExitStack() as stack:
        stack.enter_context(cluster.forward("aimic-edge", 443, port))
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aimic-cluster-")))
        authority = place / "ca.crt"
        authority.write_text(cluster.secret("aimic-edge-tls", "ca.crt"))
        http = stack.enter_context(trusting(edge, authority))
        client = stack.enter_context(Client(f"https://{edge}", key, retry=PATIENT, http=http))
        yield Laboratory(client, edge, key, authority, place / DATASET)


def trusting(edge: str, authority: Path) -> httpx.Client:
    """A connection pool to the edge that trusts this authority and no other."""
    return httpx.Client(base_url=f"https://{edge}", verify=ssl.create_default_context(cafile=authority), timeout=30)
