"""Start the front: `python -m services.local.front`."""

import uvicorn

from aimic import tracing
from aimic.auth import refuse_open_bind
from aimic.telemetry import setup_logging
from aimic.web import OperationsServer
from services.local.front.app import create_app
from services.local.settings import LocalSettings


def main() -> None:
    """Serve until asked to stop."""
    settings = LocalSettings()
    setup_logging("front", settings.log_level)
    tracing.begin("front", settings)
    refuse_open_bind(settings)
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
        server_header=False,
        date_header=False,
        ws_max_size=256 * 2**20,
    )
    server = uvicorn.Server(config)
    operations = OperationsServer(
        settings.ops_host, settings.front_ops_port, lambda: None if server.started else "not listening yet"
    )
    operations.start()
    server.run()
    operations.stop()
    tracing.end()


if __name__ == "__main__":
    main()
