"""Starts ingest: `python -m services.ingest`."""

import logging
import os
import signal
import sys
from types import FrameType

import uvicorn
from prometheus_client import REGISTRY

from aimic import faults, tracing
from aimic.auth import refuse_open_bind
from aimic.heap import give_back
from aimic.monitoring import Punctual
from aimic.telemetry import setup_logging
from aimic.web import OperationsServer
from services.ingest.app import compose, create_app
from services.ingest.health import Health
from services.ingest.migrate import ready
from services.ingest.models.bundles import clear_scratch
from services.ingest.monitoring import RecordsCollector
from services.ingest.progress import Signals
from services.ingest.settings import Settings
from services.ingest.tasks import presence

GRACE_S = 5
"""Seconds that running requests get when the process is asked to end."""

logger = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """Ends event streams as soon as the process is asked to end, since they would never end by themselves."""

    def __init__(self, config: uvicorn.Config, signals: Signals) -> None:
        super().__init__(config)
        self._signals = signals

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM and SIGINT."""
        self._signals.stop()
        super().handle_exit(sig, frame)


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler's arguments
    raise SystemExit(0)


def _end_at_once() -> None:
    """End by the signal that asked for it, or by the error that goes on, without Python's wait for every thread: one
    that asks a database that hangs would keep the process for a minute, and everything is closed."""
    reason = sys.exception()
    if isinstance(reason, SystemExit) and not reason.code:
        logging.shutdown()
        os._exit(0)


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    # uvicorn raises the signal once more after its own shutdown; ours then ends us with everything closed.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    give_back()
    settings = Settings()
    setup_logging("ingest", settings.log_level)
    tracing.begin("ingest", settings)
    faults.arm(settings)
    refuse_open_bind(settings)
    parts = compose(settings)
    ready(parts.database)
    presence.keep(parts)
    clear_scratch(settings.home / "scratch")
    REGISTRY.register(Punctual(RecordsCollector(parts)))
    health = Health.of(parts)
    health.start()
    operations = OperationsServer(settings.ops_host, settings.ingest_ops_port, health.not_ready, health.away)
    operations.start()
    config = uvicorn.Config(
        create_app(parts, away=health.needed_away),
        host=settings.host,
        port=settings.ingest_port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    try:
        Server(config, parts.signals).run()
    finally:
        operations.stop()
        health.stop()
        parts.events.close()
        parts.database.close()
        tracing.end()
        logger.info("ended")
        _end_at_once()


if __name__ == "__main__":
    main()
