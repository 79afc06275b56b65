"""Which service gets which request."""

from pathlib import Path

from services.local.front.routing import Routes
from services.local.settings import LocalSettings, Profile


def test_ingests_take_turns_and_every_other_is_tried_after_the_first() -> None:
    settings = LocalSettings(home=Path("/nowhere"), profile=Profile.SERVERS, ingests=3)
    routes = Routes(settings)
    found = [routes.find("/api/v1/datasets")[1] for _ in range(3)]
    assert {targets[0] for targets in found} == {f"127.0.0.1:{port}" for port in (8000, 8100, 8200)}
    assert all(sorted(targets) == sorted(found[0]) for targets in found)


def test_paths_find_their_service() -> None:
    routes = Routes(LocalSettings(home=Path("/nowhere")))
    services = {
        "/api/v1/x": "ingest",
        "/inference/v1/x": "inference",
        "/v2/x": "inference",
        "/v2": "inference",  # where the Open Inference Protocol has the server's metadata
        "/": "dashboard",
        "/apiary": "dashboard",
        "/v20": "dashboard",
    }
    assert {path: routes.find(path)[0] for path in services} == services
