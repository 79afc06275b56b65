"""The way in leads where the table says, and its certificate is one that a client can trust."""

import base64
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.kubernetes.manifests import CHART, ROOT, Manifests, of_kind

Render = Callable[..., Manifests]


def _caddyfile(manifests: Manifests) -> str:
    (text,) = [each["data"]["Caddyfile"] for each in of_kind(manifests, "ConfigMap") if "Caddyfile" in each["data"]]
    return str(text)


def test_it_leads_to_the_drawn_ports_and_no_other(rendered: Render, arrows: dict[str, Any]) -> None:
    drawn = {(each["to"], each["port"]) for each in arrows["arrows"] if each["from"] == "edge" and each["to"] != "dns"}
    wanted = {f"hospital-aimic-{to}:{arrows['ports'][to][port]}" for to, port in drawn}

    assert set(re.findall(r"reverse_proxy (?:h2c://)?(\S+)", _caddyfile(rendered("small")))) == wanted


def test_its_limits_are_those_of_the_values(rendered: Render) -> None:
    changes = ("limits.uploadGiB=7", "limits.requestMiB=8", "limits.dashboardUploadMiB=9")

    assert re.findall(r"max_size (\S+)", _caddyfile(rendered("small", *changes))) == ["8MiB", "7GiB", "9MiB"]


@pytest.fixture
def certificate(rendered: Render, tmp_path: Path) -> Path:
    """A directory with ca.crt, tls.crt and tls.key."""
    (secret,) = [each for each in of_kind(rendered("small"), "Secret") if each["type"] == "kubernetes.io/tls"]
    for name, text in secret["data"].items():
        (tmp_path / name).write_bytes(base64.b64decode(text))
    return tmp_path


def _handshake(place: Path, name: str) -> None:
    """Client and server in memory; ssl.SSLError when the client doesn't believe the server."""
    server, client = (
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
        ssl.create_default_context(cafile=place / "ca.crt"),
    )
    server.load_cert_chain(place / "tls.crt", place / "tls.key")
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(back, there, server_hostname=name)
    answering = server.wrap_bio(there, back, server_side=True)
    for _ in range(4):
        for side in (asking, answering):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert asking.version() in {"TLSv1.2", "TLSv1.3"}


@pytest.mark.parametrize("name", ["aimic.local", "localhost", "127.0.0.1", "hospital-aimic-edge.default.svc"])
def test_whoever_trusts_its_authority_believes_its_certificate(certificate: Path, name: str) -> None:
    _handshake(certificate, name)


def test_a_certificate_for_another_name_is_not_believed(certificate: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(certificate, "elsewhere.example")


def test_a_certificate_of_the_hospitals_own_is_taken_instead(rendered: Render) -> None:
    manifests = rendered("small", "edge.tls.secretName=ours")
    (deployment,) = [each for each in of_kind(manifests, "Deployment") if each["metadata"]["name"].endswith("-edge")]
    volumes = {each["name"]: each for each in deployment["spec"]["template"]["spec"]["volumes"]}

    assert volumes["tls"]["secret"]["secretName"] == "ours"
    assert not [each for each in of_kind(manifests, "Secret") if each["type"] == "kubernetes.io/tls"]


def test_the_charts_database_is_set_up_as_any_other() -> None:
    chart, servers = CHART / "files" / "postgresql" / "roles.sql", ROOT / "services" / "local" / "servers" / "roles.sql"

    assert chart.read_text() == servers.read_text()
