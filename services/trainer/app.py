"""What a trainer is made of."""

from collections.abc import Callable
from dataclasses import dataclass

from aimic import wiring
from aimic.ports.events import Events
from aimic.web import OperationsServer
from services.trainer.api import Ingest
from services.trainer.settings import Settings
from services.trainer.worker import Worker


@dataclass(frozen=True)
class Trainer:
    """A worker and its operations port."""

    worker: Worker
    operations: OperationsServer
    close: Callable[[], None]


def compose(settings: Settings, events: Events | None = None) -> Trainer:
    """Everything the process is made of; nothing runs yet."""
    ingest = Ingest(settings.ingest_url, settings.claim_key)
    log = events or wiring.events(settings)
    worker = Worker(settings, ingest, log)
    operations = OperationsServer(settings.ops_host, settings.trainer_ops_port, worker.not_ready)

    def close() -> None:
        ingest.close()
        log.close()

    return Trainer(worker, operations, close)
