"""What a laboratory does: import, train, classify. By the Python client, through two forwarded ports."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from aimic.client import Client, Retry
from aimic.client.predict_grpc import GrpcClient
from aimic.domain.dataset import LabelRule
from aimic.domain.job import Job, JobRequest, Status, TrainSettings
from aimic.domain.prediction import PredictResponse
from aimic.domain.split import SplitRequest
from services.local.demo.cells import KINDS, draw_set
from services.local.servers.ports import free_ports
from tests.cluster.kubernetes import Cluster, until

DATASET = "drawn-cells"
SETTINGS = TrainSettings(
    networks=("shufflenet_v2_x1_0",),
    split=SplitRequest(kind="kfold", k=3),
    epochs=6,
    lr=3e-3,
    batch_size=16,
    image_size=64,
    threads=1,
)
PATIENT = Retry(attempts=40, first_s=0.2, longest_s=2.0)


@dataclass(frozen=True)
class Laboratory:
    """One installation, and the pictures that are sent to it."""

    client: Client
    grpc: str
    key: str
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

    def start(self, model: str) -> Job:
        """Ask for a training."""
        return self.client.jobs.create(JobRequest(dataset=DATASET, model=model, settings=SETTINGS))

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
            asked = GrpcClient(self.grpc, self.key, retry=PATIENT)
            try:
                return await asked.predict(model, self.files())
            finally:
                await asked.aclose()

        return asyncio.run(ask())


def same(one: PredictResponse, other: PredictResponse) -> None:
    """RuntimeError unless both say the same of every picture, by the same bundle."""
    said, heard = _said(one), _said(other)
    if said != heard or None in said:
        raise RuntimeError(f"answers differ: {said} and {heard}")


def _said(response: PredictResponse) -> list[dict[str, object] | None]:
    """What each picture got, without the request's own name."""
    return [each.answer and each.answer.model_dump(exclude={"request_id"}) for each in response.results]


@contextmanager
def laboratory(cluster: Cluster) -> Iterator[Laboratory]:
    """The services of an installation, reached from here."""
    ingest, inference, grpc = free_ports(3)
    key = cluster.secret("aimic-keys", "api-key")
    with ExitStack() as stack:
        stack.enter_context(cluster.forward("aimic-ingest", 8000, ingest))
        stack.enter_context(cluster.forward("aimic-inference", 8001, inference))
        stack.enter_context(cluster.forward("aimic-inference", 8002, grpc))
        at = f"http://127.0.0.1:{ingest}"
        client = stack.enter_context(Client(at, key, inference=f"http://127.0.0.1:{inference}", retry=PATIENT))
        pictures = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aimic-cluster-"))) / DATASET
        yield Laboratory(client, f"127.0.0.1:{grpc}", key, pictures)
