"""`python -m services.dashboard`: serve until SIGTERM or Ctrl-C."""

import signal
from types import FrameType

import uvicorn

from aimic import tracing
from aimic.auth import refuse_open_bind
from aimic.telemetry import setup_logging
from aimic.web import OperationsServer
from services.dashboard import logs
from services.dashboard.settings import settings


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler's arguments
    raise SystemExit(0)


def main() -> None:
    """Start the dashboard and its operations port; both end within a few seconds of a signal."""
    # uvicorn raises the signal once more after its own shutdown; ours then ends us with everything closed.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    chosen = settings()
    setup_logging("dashboard", chosen.log_level)
    tracing.begin("dashboard", chosen)
    refuse_open_bind(chosen)
    operations = OperationsServer(chosen.ops_host, chosen.dashboard_ops_port, lambda: None)
    operations.start()
    # Streamlit takes a second to import, and liveness is answered meanwhile.
    from services.dashboard.app import create_app

    app = create_app(chosen)
    logs.gather()
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=chosen.host,
            port=chosen.dashboard_port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=3,
        )
    )
    try:
        server.run()
    finally:
        operations.stop()
        tracing.end()


if __name__ == "__main__":
    main()
