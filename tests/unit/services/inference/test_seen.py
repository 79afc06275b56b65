"""Series of versions: bounded in number, gone with their version, and true to what is in memory."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.exposition import choose_encoder

from aimic.domain.model import ServingEntry, Stage
from aimic.domain.site import OWNER
from aimic.ports.predictor import LoadedModel
from aimic.telemetry import traceparent
from services.inference.deadline import Deadline
from services.inference.metrics import BATCH_IMAGES, LOADED, LOADED_BYTES, TOTAL_SECONDS
from services.inference.monitoring import PREDICTOR_UP, collectors
from services.inference.seen import BY_VERSION, Versions

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def _entry(name: str, version: int = 1, bundle: str = "ab" * 32) -> ServingEntry:
    return ServingEntry(name=name, version=version, bundle_hash=bundle, stage=Stage.SERVING, bundle_url="/")


def _labels(family: Any) -> set[tuple[str, ...]]:
    return {tuple(v for k, v in s.labels.items() if k != "le") for m in family.collect() for s in m.samples}


@pytest.fixture
def versions() -> Iterator[Versions]:
    made = Versions(most=3)
    yield made
    made.keep([])


def test_series_go_with_their_version(versions: Versions) -> None:
    for name in ("gone", "kept"):
        versions.of(_entry(name)).answered(0.2, 1)
        versions.of(_entry(name)).decoded(0.1)
    BATCH_IMAGES.labels("123456789012").observe(3)
    BATCH_IMAGES.labels("ab" * 6).observe(3)
    versions.keep([_entry("kept")])
    for family in BY_VERSION:
        assert ("gone", "1") not in _labels(family) and ("kept", "1") in _labels(family)
    assert _labels(BATCH_IMAGES) == {("ab" * 6,)}


def test_a_registry_with_any_number_of_names_makes_few_series(versions: Versions) -> None:
    before, batches = _labels(TOTAL_SECONDS), _labels(BATCH_IMAGES)
    for number in range(20):
        versions.of(_entry("often"))
        versions.of(_entry(f'strange "name"\n{number}', bundle=f"{number:064d}"[::-1]))
        for bundle in ("ab" * 6, f"{number:064d}"[::-1][:12]):
            BATCH_IMAGES.labels(bundle).observe(1)
    added = _labels(TOTAL_SECONDS) - before
    assert len(added) == 3 and ("often", "1") in added
    made = _labels(BATCH_IMAGES) - batches
    assert len(made) == 3 and ("ab" * 6,) in made
    assert "strange" in generate_latest(REGISTRY).decode()


def test_exemplars_name_the_trace_for_those_that_ask_for_openmetrics(versions: Versions) -> None:
    token = traceparent.set(f"00-{TRACE}-00f067aa0ba902b7-01")
    versions.of(_entry("traced")).answered(0.2, 1)
    traceparent.reset(token)
    encode, content_type = choose_encoder("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    lines = encode(REGISTRY).decode().splitlines()
    assert content_type.startswith("application/openmetrics-text") and lines[-1] == "# EOF"
    (line,) = [line for line in lines if "trace_id" in line and 'model="traced"' in line]
    assert line.startswith("aimic_inference_total_seconds_bucket{") and f'# {{trace_id="{TRACE}"}} 0.2 ' in line
    assert "trace_id" not in choose_encoder("text/plain")[0](REGISTRY).decode()


class _WithMetrics:
    """A predictor that tells of a model that it has, one that it had, and itself."""

    def metrics(self) -> str:
        models = "".join(f'ts_queue{{{label}="{name}"}} 4\n' for label in ("model_name", "ModelName") for name in "ab")
        return f"# TYPE ts_queue gauge\n{models}# TYPE ts_memory gauge\nts_memory 5\n"

    def loaded(self) -> tuple[LoadedModel, ...]:
        return (LoadedModel(bundle_hash="h", executor="x", classes=(), image_size=1, name="a"),)


@pytest.mark.anyio
async def test_what_is_in_memory_is_told_with_what_runs_it(
    tmp_path: Path, shelf: Any, running: Callable[..., Any], picture: Callable[..., bytes], until: Callable[..., Any]
) -> None:
    async with running(tmp_path, shelf) as parts:
        await until(lambda: parts.reconciler.not_ready() is None)
        answer = await parts.plane.predict("cells", None, [picture(1)], Deadline.after(30), "r", principal=OWNER)
        registry = CollectorRegistry()
        for collector in collectors(parts.plane.catalogue, parts.predictor):
            registry.register(collector)
        with_own: Any = _WithMetrics()
        (_, own) = collectors([], with_own)
        registry.register(own)
        text = generate_latest(registry).decode()
        (loaded,) = parts.predictor.loaded()
        assert (LOADED._value.get(), LOADED_BYTES._value.get()) == (1, loaded.memory_bytes)
    bundle, executor = shelf.entries[0].bundle_hash[:12], answer.results[0].answer.executor
    labels = f'bundle="{bundle}",executor="{executor}",model="cells",version="1"'
    assert f"aimic_inference_model_info{{{labels}}} 1.0" in text
    assert f'aimic_inference_model_memory_bytes{{bundle="{bundle}"}}' in text
    assert f"{PREDICTOR_UP} 1.0" in text and "ts_memory 5.0" in text
    assert 'ts_queue{model_name="a"} 4.0' in text and 'ts_queue{ModelName="a"} 4.0' in text and '"b"' not in text
    assert ("cells", "1") in _labels(TOTAL_SECONDS)
