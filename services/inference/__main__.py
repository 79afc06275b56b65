"""Starts the inference service: `python -m services.inference`."""

import asyncio
import logging
import os
import signal
from contextlib import nullcontext
from typing import Any

import uvicorn
from prometheus_client import REGISTRY

from aimic import faults, tracing
from aimic.auth import refuse_open_bind
from aimic.telemetry import setup_logging
from aimic.web import OperationsServer
from services.inference.app import Service, service
from services.inference.grpc.server import GrpcServer
from services.inference.monitoring import collectors
from services.inference.pulse import Pulse
from services.inference.rest.application import application
from services.inference.settings import Settings

logger = logging.getLogger(__name__)

_HEALTH_S = 0.2


class RestServer(uvicorn.Server):
    """uvicorn on our event loop; the signals are ours, since REST and gRPC stop together."""

    def capture_signals(self) -> Any:
        """Leave the signals alone."""
        return nullcontext()


async def serve(settings: Settings) -> None:
    """Until SIGTERM or SIGINT: then take nothing new, finish what was taken, and end."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with service(settings) as running:
        operations = OperationsServer(
            settings.ops_host,
            settings.inference_ops_port,
            lambda: "stopping" if stopping.is_set() else running.reconciler.not_ready(),
            alive=Pulse(loop).stopped,
        )
        for collector in collectors(running.plane.catalogue, running.predictor):
            REGISTRY.register(collector)
        operations.start()
        try:
            await _shells(running, stopping)
        finally:
            await asyncio.to_thread(operations.stop)


async def _shells(running: Service, stopping: asyncio.Event) -> None:
    settings = running.settings
    rest = RestServer(
        uvicorn.Config(
            application(
                settings,
                running.plane,
                lambda: not stopping.is_set() and running.reconciler.not_ready() is None,
                running.samples,
                running.objects,
            ),
            host=settings.host,
            port=settings.inference_port,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=round(settings.inference_stop_s),
        )
    )
    grpc = GrpcServer(settings, running.plane)
    await grpc.start()
    serving = asyncio.create_task(rest.serve(), name="rest")
    logger.info("inference serves", extra={"rest": settings.inference_port, "grpc": grpc.address})
    try:
        await _follow_health(running, grpc, stopping, serving)
    finally:
        rest.should_exit = True
        await asyncio.gather(grpc.stop(settings.inference_stop_s), serving, return_exceptions=True)


async def _follow_health(
    running: Service, grpc: GrpcServer, stopping: asyncio.Event, serving: asyncio.Task[None]
) -> None:
    """gRPC's health says what readiness says, until we are asked to stop or REST ends by itself."""
    while not stopping.is_set() and not serving.done():
        await grpc.announce(ready=running.reconciler.not_ready() is None)
        try:
            async with asyncio.timeout(_HEALTH_S):
                await stopping.wait()
        except TimeoutError:
            pass


def main() -> None:
    """Read the settings and serve."""
    # The network's threads sleep while they wait for each other: spinning ones take a busy machine's CPUs from
    # each other, and one image then takes a second instead of 30 ms. libgomp looks when torch is imported, later.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    settings = Settings()
    setup_logging("inference", settings.log_level)
    tracing.begin("inference", settings)
    faults.arm(settings)
    refuse_open_bind(settings)
    refuse_open_bind(settings, settings.grpc_host)
    asyncio.run(serve(settings))
    tracing.end()
    # Everything is closed. Python would now free the networks piece by piece, which takes seconds on a busy
    # machine; the kernel does it at once.
    logging.shutdown()
    os._exit(0)


if __name__ == "__main__":
    main()
