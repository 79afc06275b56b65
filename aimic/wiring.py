"""One URL picks each adapter. Adapters are imported only when chosen, so embedded mode needs no server's client."""

from pathlib import Path
from urllib.parse import urlsplit

from aimic.ports.blobs import Blobs
from aimic.ports.events import Events
from aimic.ports.predictor import Predictor


def file_path(url: str) -> Path:
    """The path of a file:// or sqlite:/// URL."""
    return Path(urlsplit(url).path)


def blobs(url: str) -> Blobs:
    """`file:///directory`."""
    if url.startswith("file://"):
        from aimic.adapters.local_blobs import LocalBlobs

        return LocalBlobs(file_path(url))
    raise SystemExit(f"AIMIC_BLOBS_URL: no adapter for {urlsplit(url).scheme!r}; use file:///directory")


def events(url: str) -> Events:
    """`sqlite:///file`."""
    if url.startswith("sqlite:///"):
        from aimic.adapters.sqlite_events import SqliteEvents

        return SqliteEvents(file_path(url))
    raise SystemExit(f"AIMIC_EVENTS_URL: no adapter for {urlsplit(url).scheme!r}; use sqlite:///file")


def predictor(url: str) -> Predictor:
    """`local://` (in this process)."""
    if url.startswith("local://"):
        from aimic.adapters.local_predictor import LocalPredictor

        return LocalPredictor()
    raise SystemExit(f"AIMIC_PREDICTOR_URL: no adapter for {urlsplit(url).scheme!r}; use local://")
