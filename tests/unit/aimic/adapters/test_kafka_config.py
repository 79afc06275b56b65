"""What Kafka's clients are told: nothing is sent in the clear, or to the wrong place, by a slip."""

import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from aimic.adapters.kafka_config import Cluster, cluster_of
from aimic.settings import Settings


def _of(url: str, **settings: Any) -> Cluster:
    return cluster_of(Settings(events_url=url, **settings))


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate and its key in one file."""
    file = tmp_path / "own.pem"
    openssl = shutil.which("openssl") or "openssl"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-keyout", file, "-out", file],
        check=True,
        capture_output=True,
    )
    return file


@pytest.mark.parametrize(
    ("url", "servers"),
    [
        ("kafka://broker:19092", ("broker:19092",)),
        ("kafka://broker", ("broker:9092",)),
        ("kafka://a:1,b,c:3/", ("a:1", "b:9092", "c:3")),
        ("kafka://[::1]:5,[::1]", ("[::1]:5", "[::1]:9092")),
    ],
)
def test_the_servers_of_an_address(url: str, servers: tuple[str, ...]) -> None:
    assert _of(url).servers == servers
    assert _of(url).security == {"security_protocol": "PLAINTEXT"}


def test_tls_and_a_user(certificate: Path) -> None:
    cluster = _of("kafka+tls://a:1", kafka_username="aimic", kafka_password="secret word", kafka_ca_file=certificate)
    context = cluster.security.pop("ssl_context")
    assert isinstance(context, ssl.SSLContext)
    assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname and len(context.get_ca_certs()) == 1
    assert cluster.security == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "aimic",
        "sasl_plain_password": "secret word",
    }
    assert _of("kafka+tls://a:1").security["security_protocol"] == "SSL"
    assert _of("kafka://a:1", kafka_username="u", kafka_password="p").security["security_protocol"] == "SASL_PLAINTEXT"


def test_the_password_is_never_printed(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("from a file\n")
    cluster = _of("kafka://a", kafka_username="u", kafka_password_file=tmp_path / "password", kafka_mechanism="PLAIN")
    assert cluster.security["sasl_plain_password"] == "from a file" and "from a file" not in repr(cluster)


@pytest.mark.parametrize(
    ("url", "settings", "words"),
    [
        ("kafka://user:word@a:1", {}, "AIMIC_KAFKA_USERNAME"),
        ("kafka://", {}, "host:port"),
        ("kafka://a:1/topic", {}, "host:port"),
        ("kafka://a:1?x=y", {}, "host:port"),
        ("kafka://a:1", {"kafka_username": "u"}, "no password"),
        ("kafka://a:1", {"kafka_password": "p"}, "AIMIC_KAFKA_USERNAME is not"),
        ("kafka://a:1", {"kafka_ca_file": "/ca.pem"}, "not encrypted"),
        ("kafka+tls://a:1", {"kafka_ca_file": "/no/such.pem"}, "/no/such.pem"),
        ("kafka+tls://a:1", {"kafka_cert_file": "/no/such.pem"}, "/no/such.pem"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_starts(url: str, settings: Any, words: str) -> None:
    with pytest.raises(SystemExit) as refused:
        _of(url, **settings)
    assert words in str(refused.value) and "Nothing was started" in str(refused.value)
    assert "word@" not in str(refused.value)
