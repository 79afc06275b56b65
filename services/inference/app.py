"""Composition, nothing else: everything that the process is made of, each part replaceable by an argument."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import httpx

from aimic import wiring
from aimic.nets.executors import machine_class
from aimic.ports.events import Events
from aimic.ports.predictor import LoadedModel, Predictor
from aimic.settings import available_cpus
from services.inference.admission import Admission
from services.inference.batching import Batcher
from services.inference.bundles import BundleStore
from services.inference.catalogue import Catalogue
from services.inference.dataplane import DataPlane, Limits
from services.inference.decoding import Decoders
from services.inference.executors import Executors, Machines, Measurement
from services.inference.lane import Lane
from services.inference.loading import Loader
from services.inference.memory import Memory
from services.inference.probing import Prober, ProbeTimes
from services.inference.reconcile import Listener, Reconciler
from services.inference.registry import Registry, client
from services.inference.rest.objects import Objects, objects_of
from services.inference.rest.references import Samples
from services.inference.settings import Settings
from services.inference.snapshot import Snapshot
from services.inference.switching import Switching


@dataclass(frozen=True)
class Service:
    """The running parts that the shells need."""

    settings: Settings
    plane: DataPlane
    reconciler: Reconciler
    predictor: Predictor
    samples: Samples
    objects: Objects | None


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
        runs = predictor or wiring.predictor(settings.predictor_url, settings.worker)
        stack.callback(runs.close)
        lane = Lane()
        stack.callback(lane.close)
        decoders = Decoders(settings.inference_decoders, settings.inference_decode_s)
        stack.push_async_callback(decoders.close)
        await decoders.start()

        catalogue = Catalogue()
        prober = Prober(runs, catalogue, settings.bundles, _probe_times(settings))
        batcher = partial(_batcher, settings, runs, lane, prober)
        memory = Memory(catalogue, runs, batcher, settings.inference_models, settings.models_bytes)
        stack.push_async_callback(memory.close)
        asks = http or client(settings.ingest_url, settings.key())
        registry = Registry(asks, settings.inference_bundle_bytes)
        stack.push_async_callback(registry.close)
        store = BundleStore(settings.bundles, registry, settings.inference_disk_bytes)
        await asyncio.to_thread(store.prepare)
        switching = Switching(memory, await _executors(settings, asks))
        stack.push_async_callback(switching.close)
        loader = Loader(catalogue, store, memory, switching)
        stack.push_async_callback(loader.close)
        reconciler = Reconciler(
            registry,
            Snapshot(settings.home / "serving.json"),
            catalogue,
            loader,
            settings.inference_poll_s,
            settings.inference_longest_poll_s,
            prober.trouble,
        )
        admission = Admission(settings.inference_queue_images)
        plane = DataPlane(catalogue, loader, decoders, admission, prober, _limits(settings), reconciler.look_again)
        stack.push_async_callback(_cancel, asyncio.create_task(prober.run(), name="probes"))
        await _reconcile(stack, settings, reconciler, events or partial(wiring.events, settings))
        samples = Samples(client(settings.ingest_url, None))
        stack.push_async_callback(samples.close)
        objects = objects_of(settings)
        if objects is not None:
            stack.callback(objects.close)
        yield Service(settings, plane, reconciler, runs, samples, objects)


def _batcher(settings: Settings, predictor: Predictor, lane: Lane, prober: Prober, model: LoadedModel) -> Batcher:
    return Batcher(
        model.bundle_hash,
        partial(predictor.predict, model.name),
        lane,
        prober.watch(model.bundle_hash),
        limit=settings.inference_batch_images,
        window_s=settings.inference_batch_window_s,
    )


def _probe_times(settings: Settings) -> ProbeTimes:
    return ProbeTimes(
        settings.inference_probe_s,
        settings.inference_probe_again_s,
        settings.inference_probe_timeout_s,
        settings.inference_probe_failures,
    )


async def _executors(settings: Settings, http: httpx.AsyncClient) -> Executors:
    machines = Machines(
        await asyncio.to_thread(machine_class), await asyncio.to_thread(machine_class, reduced=True), settings.reduced
    )
    measure = Measurement(available_cpus(), settings.inference_measuring_s)
    return Executors(http, settings.home / "executors", settings.inference_executor, machines, measure)


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
