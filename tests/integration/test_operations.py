"""Operations ports ask for no key: they stay on this machine, wherever the service itself listens."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.local.servers.ports import free_ports

SERVICES = {
    "services.ingest": ("AIMIC_INGEST_PORT", "AIMIC_INGEST_OPS_PORT"),
    "services.trainer": (None, "AIMIC_TRAINER_OPS_PORT"),
    "services.dashboard": ("AIMIC_DASHBOARD_PORT", "AIMIC_DASHBOARD_OPS_PORT"),
    "services.local.front": ("AIMIC_PORT", "AIMIC_FRONT_OPS_PORT"),
}


def _open(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


@pytest.mark.parametrize("module", SERVICES)
@pytest.mark.parametrize("ops_host", [None, "127.0.0.3"])
def test_operations_are_answered_where_they_were_told_to_be(module: str, ops_host: str | None, tmp_path: Path) -> None:
    port_name, ops_name = SERVICES[module]
    port, ops = free_ports(2)
    environment = {
        **os.environ,
        "AIMIC_HOME": str(tmp_path),
        "AIMIC_HOST": "127.0.0.2",
        "AIMIC_API_KEY": "secret",
        "AIMIC_INGEST_URL": "http://127.0.0.1:1",
        ops_name: str(ops),
        **({port_name: str(port)} if port_name else {}),
        **({"AIMIC_OPS_HOST": ops_host} if ops_host else {}),
    }
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen((sys.executable, "-m", module), stderr=log, env=environment)
    try:
        end = time.monotonic() + 120
        while not _open(ops_host or "127.0.0.1", ops) or (port_name and not _open("127.0.0.2", port)):
            assert process.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.1)
        hosts = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
        assert [host for host in hosts if _open(host, ops)] == [ops_host or "127.0.0.1"]
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.parametrize(
    ("module", "name"),
    [(module, name) for module, names in SERVICES.items() for name in names if name]
    + [("services.inference", "AIMIC_INFERENCE_PORT"), ("services.inference", "AIMIC_INFERENCE_OPS_PORT")],
)
def test_a_service_that_cannot_have_a_port_ends_and_says_so(module: str, name: str, tmp_path: Path) -> None:
    names = {name for pair in SERVICES.values() for name in pair if name}
    names |= {"AIMIC_INFERENCE_PORT", "AIMIC_INFERENCE_OPS_PORT", "AIMIC_INFERENCE_GRPC_PORT"}
    ports = {name: str(port) for name, port in zip(sorted(names), free_ports(len(names)), strict=True)}
    environment = {**os.environ, "AIMIC_HOME": str(tmp_path), "AIMIC_INGEST_URL": "http://127.0.0.1:1", **ports}
    with socket.create_server(("127.0.0.1", int(ports[name]))):
        ended = subprocess.run(
            (sys.executable, "-m", module), env=environment, capture_output=True, text=True, timeout=120, check=False
        )
    assert ended.returncode != 0
    assert ports[name] in ended.stdout + ended.stderr
    assert "in use" in ended.stdout + ended.stderr
