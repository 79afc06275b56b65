"""What each part of the embedded platform is told."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from services.local.parts import part_specs
from services.local.servers.together import Servers
from services.local.settings import LocalSettings


def test_only_the_front_and_grpc_face_the_network() -> None:
    specs = part_specs(LocalSettings(home=Path("/nowhere"), host="0.0.0.0"))
    told = {spec.name: spec.environment for spec in specs}
    facing = {(name, key) for name, environment in told.items() for key, to in environment.items() if to == "0.0.0.0"}
    assert facing == {("front", "AIMIC_HOST"), ("inference", "AIMIC_INFERENCE_GRPC_HOST")}
    for environment in told.values():
        assert environment["AIMIC_OPS_HOST"] == "127.0.0.1"
        assert environment["AIMIC_HOST"]


def _with_servers(**more: object) -> LocalSettings:
    return LocalSettings.model_validate({"home": "/nowhere", "profile": "servers", **more})


def test_each_of_several_has_ports_and_a_name_of_its_own(tmp_path: Path) -> None:
    settings = _with_servers(ingests=2, trainers=3)
    specs = {spec.name: spec for spec in part_specs(settings, Servers.on(tmp_path))}
    assert set(specs) == {
        "ingest", "ingest-2", "inference", "trainer", "trainer-2", "trainer-3", "dashboard", "front",
    }  # fmt: skip
    ports = [spec.ops_port for spec in specs.values()]
    assert len(set(ports)) == len(ports)
    assert set(ports) <= set(settings.bound())
    assert specs["ingest"].environment["AIMIC_HOME"] != specs["ingest-2"].environment["AIMIC_HOME"]
    assert {specs[name].environment["AIMIC_INGEST_URL"] for name in ("trainer", "trainer-2", "trainer-3")} == {
        "http://127.0.0.1:8000",
        "http://127.0.0.1:8100",
    }


def test_only_ingest_has_the_secrets_of_records_and_objects(tmp_path: Path) -> None:
    for spec in part_specs(_with_servers(), Servers.on(tmp_path)):
        told = {name for name in spec.environment if name.startswith(("AIMIC_RECORDS", "AIMIC_S3"))}
        assert bool(told) is (spec.name == "ingest"), spec.name


def test_several_ingests_need_the_servers() -> None:
    with pytest.raises(ValidationError, match="--profile servers"):
        LocalSettings(ingests=2)
    own = {"records_url": "postgresql+psycopg://db/aimic", "events_url": "kafka://broker:9092"}
    with pytest.raises(ValidationError, match="AIMIC_BLOBS_URL"):
        LocalSettings.model_validate({"ingests": 2, **own})
    settings = LocalSettings.model_validate({"ingests": 2, **own, "blobs_url": "s3+http://store/aimic"})
    assert [spec.name for spec in part_specs(settings)][:2] == ["ingest", "ingest-2"]


def test_the_servers_take_no_port_without_their_profile() -> None:
    assert 5440 not in LocalSettings().bound()
    assert _with_servers().bound()[5440] == "postgres_port"
