"""What each part of the embedded platform is told."""

from pathlib import Path

from services.local.parts import part_specs
from services.local.settings import LocalSettings


def test_only_the_front_and_grpc_face_the_network() -> None:
    specs = part_specs(LocalSettings(home=Path("/nowhere"), host="0.0.0.0"))
    told = {spec.name: spec.environment for spec in specs}
    facing = {(name, key) for name, environment in told.items() for key, to in environment.items() if to == "0.0.0.0"}
    assert facing == {("front", "AIMIC_HOST"), ("inference", "AIMIC_INFERENCE_GRPC_HOST")}
    for environment in told.values():
        assert environment["AIMIC_OPS_HOST"] == "127.0.0.1"
        assert environment["AIMIC_HOST"]
