"""Which service answers which path. API paths never collide with the dashboard's."""

from services.local.settings import LocalSettings


class Routes:
    """Path prefix → address of the service behind it."""

    def __init__(self, settings: LocalSettings) -> None:
        inference = f"127.0.0.1:{settings.inference_port}"
        self._prefixes = {
            "/api/": ("ingest", f"127.0.0.1:{settings.ingest_port}"),
            "/inference/": ("inference", inference),
            "/v2/": ("inference", inference),
        }
        self._rest = ("dashboard", f"127.0.0.1:{settings.dashboard_port}")

    def find(self, path: str) -> tuple[str, str]:
        """Name and `host:port` of the service for `path`."""
        for prefix, target in self._prefixes.items():
            if path.startswith(prefix):
                return target
        return self._rest
