"""Composition, nothing else: everything that the process is made of, each part replaceable by an argument."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import httpx

from aimic import wiring
from aimic.ports.events import Events
from aimic.ports.predictor import Predictor
from services.inference.admission import Admission
from services.inference.batching import Batcher, Lane
from services.inference.bundles import BundleStore
from services.inference.catalogue import Catalogue
from services.inference.dataplane import DataPlane, Limits
from services.inference.decoding import Decoders
from services.inference.loading import Loader
from services.inference.memory import Memory
from services.inference.reconcile import Listener, Reconciler
from services.inference.registry import Registry, client
from services.inference.settings import Settings
from services.inference.snapshot import Snapshot


@dataclass(frozen=True)
class Service:
    """The running parts that the shells need."""

    settings: Settings
    plane: DataPlane
    reconciler: Reconciler


@asynccontextmanager
async def service(
    settings: Settings,
    *,
    predictor: Predictor | None = None,
    events: Callable[[], Events] | None = None,
    http: httpx.AsyncClient | None = None,
) -> AsyncIterator[Service]:
    """Decoders, models and reconciliation, running inside the block and stopped in reverse order."""
    async with AsyncExitStack() as stack:
        runs = predictor or wiring.predictor(settings.predictor_url)
        stack.callback(runs.close)
        lane = Lane(stack.enter_context(ThreadPoolExecutor(1, "network")))
        decoders = Decoders(settings.inference_decoders, settings.inference_decode_s)
        stack.push_async_callback(decoders.close)
        await decoders.start()

        catalogue = Catalogue()
        batcher = partial(_batcher, settings, runs, lane)
        memory = Memory(catalogue, runs, batcher, settings.inference_models, settings.models_bytes)
        stack.push_async_callback(memory.close)
        registry = Registry(http or client(settings.ingest_url, settings.key()), settings.inference_bundle_bytes)
        stack.push_async_callback(registry.close)
        store = BundleStore(settings.bundles, registry, settings.inference_disk_bytes)
        await asyncio.to_thread(store.prepare)
        loader = Loader(catalogue, store, memory)
        stack.push_async_callback(loader.close)
        reconciler = Reconciler(
            registry,
            Snapshot(settings.home / "serving.json"),
            catalogue,
            loader,
            settings.inference_poll_s,
            settings.inference_longest_poll_s,
        )
        admission = Admission(settings.inference_queue_images)
        plane = DataPlane(catalogue, loader, decoders, admission, _limits(settings), reconciler.look_again)
        await _reconcile(stack, settings, reconciler, events or partial(wiring.events, settings))
        yield Service(settings, plane, reconciler)


def _batcher(settings: Settings, predictor: Predictor, lane: Lane, bundle_hash: str) -> Batcher:
    run = partial(predictor.predict, bundle_hash)
    return Batcher(bundle_hash, run, lane, settings.inference_batch_images, settings.inference_batch_window_s)


def _limits(settings: Settings) -> Limits:
    return Limits(settings.inference_image_bytes, settings.inference_request_images)


async def _reconcile(
    stack: AsyncExitStack, settings: Settings, reconciler: Reconciler, events: Callable[[], Events]
) -> None:
    """Serve what was served last, then follow the registry and its wake-ups."""
    reconciler.restore()
    loop = asyncio.get_running_loop()
    wake = partial(loop.call_soon_threadsafe, reconciler.wake)
    listener = Listener(events, f"inference-{settings.replica}", wake)
    listener.start()
    stack.push_async_callback(asyncio.to_thread, listener.stop)
    task = asyncio.create_task(reconciler.run(), name="reconcile")
    stack.push_async_callback(_cancel, task)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
