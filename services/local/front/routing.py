"""Which service answers which path. API paths never collide with the dashboard's."""

from itertools import count

from services.local.settings import LocalSettings


class Routes:
    """Path prefix → addresses of the service behind it."""

    def __init__(self, settings: LocalSettings) -> None:
        inference = (f"127.0.0.1:{settings.inference_port}",)
        ingests = tuple(f"127.0.0.1:{port}" for port in settings.repeated("ingest_port", settings.ingests))
        self._prefixes = {
            "/api/": ("ingest", ingests),
            "/inference/": ("inference", inference),
            "/v2/": ("inference", inference),
        }
        self._rest = ("dashboard", (f"127.0.0.1:{settings.dashboard_port}",))
        self._turn = count()

    def find(self, path: str) -> tuple[str, tuple[str, ...]]:
        """Name of the service for `path`, and its `host:port`s in the order in which to try them: by turns."""
        name, targets = next((to for prefix, to in self._prefixes.items() if f"{path}/".startswith(prefix)), self._rest)
        first = next(self._turn) % len(targets)
        return name, targets[first:] + targets[:first]
