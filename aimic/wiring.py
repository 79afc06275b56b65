"""One URL picks each adapter. Adapters are imported only when chosen, so embedded mode needs no server's client."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from aimic.ports.blobs import Blobs
from aimic.ports.events import Events
from aimic.ports.predictor import Predictor
from aimic.ports.sources import Sources
from aimic.settings import Settings


def file_path(url: str) -> Path:
    """The path of a file:// or sqlite:/// URL."""
    return Path(urlsplit(url).path)


def blobs(settings: Settings) -> Blobs:
    """`file:///directory` or `s3+http(s)://host[:port]/bucket`."""
    url = settings.blobs_url
    if url.startswith("file://"):
        from aimic.adapters.local_blobs import LocalBlobs

        return LocalBlobs(file_path(url))
    if url.startswith(("s3+http://", "s3+https://")):
        from aimic.adapters.s3_blobs import S3Blobs

        return S3Blobs.of(settings)
    raise SystemExit(
        f"AIMIC_BLOBS_URL: no adapter for {urlsplit(url).scheme!r}; use file:///directory or s3+https://host/bucket"
    )


def sources(settings: Settings, url: str, buckets: set[str]) -> Sources:
    """`buckets` of others at `s3+http(s)://host[:port]`, or without `url` of the store that keeps our own objects."""
    from aimic.adapters.s3_sources import S3Sources

    setting, place = ("AIMIC_INFERENCE_S3_URL", url) if url else ("AIMIC_BLOBS_URL", settings.blobs_url)
    if not place.startswith(("s3+http://", "s3+https://")):
        raise SystemExit(
            "AIMIC_INFERENCE_S3_READABLE opens buckets, but of no store: set AIMIC_INFERENCE_S3_URL to "
            "s3+https://host[:port]. Nothing was started."
        )
    return S3Sources.of(settings, place, setting, buckets)


def events(settings: Settings) -> Events:
    """`sqlite:///file`, `kafka://host:port[,host:port]` or `kafka+tls://…`."""
    url = settings.events_url
    if url.startswith("sqlite:///"):
        from aimic.adapters.sqlite_events import SqliteEvents

        return SqliteEvents(file_path(url))
    if url.startswith(("kafka://", "kafka+tls://")):
        from aimic.adapters.kafka_events import KafkaEvents

        return KafkaEvents.of(settings)
    raise SystemExit(
        f"AIMIC_EVENTS_URL: no adapter for {urlsplit(url).scheme!r}; use sqlite:///file or kafka://host:port"
    )


def predictor(url: str, worker: Mapping[str, float] | None = None) -> Predictor:
    """`local://` (in this process) or `torchserve://[/directory]` (TorchServe as our child, working there).

    `worker` are fields of aimic.adapters.torchserve.ground.Settings; the process itself has no workers.
    """
    if url.startswith("local://"):
        from aimic.adapters.local_predictor import LocalPredictor

        return LocalPredictor()
    if url.startswith("torchserve://"):
        from aimic.adapters.torchserve_predictor import TorchServePredictor

        return TorchServePredictor.of(url, worker or {})
    raise SystemExit(f"AIMIC_PREDICTOR_URL: no adapter for {urlsplit(url).scheme!r}; use local:// or torchserve://")
