"""Encrypted, with certificates on both sides and a login by SCRAM: a broker as a hospital runs it."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kafka.admin import UserScramCredentialUpsertion

from aimic.adapters.kafka_clients import administrator
from aimic.adapters.kafka_config import cluster_of
from aimic.adapters.kafka_events import KafkaEvents
from aimic.errors import UnavailableError
from aimic.events import TaskReady
from aimic.settings import Settings
from services.local.servers.kafka import Kafka
from services.local.servers.ports import free_ports

pytestmark = pytest.mark.servers

TLS = """
listener.name.tls.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.tls.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.tls.ssl.keystore.type=PEM
listener.name.tls.ssl.keystore.location={certificate}
listener.name.tls.ssl.truststore.type=PEM
listener.name.tls.ssl.truststore.location={authority}
listener.name.tls.ssl.client.auth=required
"""


class TlsKafka(Kafka):
    """The broker with one more listener."""

    def __init__(self, home: Path, certificate: Path, authority: Path) -> None:
        super().__init__(home)
        self.certificate, self.authority = certificate, authority
        (self.tls_port,) = free_ports(1)

    def prepare(self) -> None:
        """With the listener's lines in its configuration."""
        super().prepare()
        path = self.home / "server.properties"
        listener = f",TLS://127.0.0.1:{self.tls_port}"
        lines = []
        for line in path.read_text().splitlines():
            if line.startswith("listener.security.protocol.map="):
                lines.append(f"{line},TLS:SASL_SSL")
            elif line.startswith(("listeners=", "advertised.listeners=")):
                lines.append(line + listener)
            else:
                lines.append(line)
        path.write_text("\n".join(lines) + TLS.format(certificate=self.certificate, authority=self.authority))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 with its key in one file, which is its own authority."""
    home = tmp_path_factory.mktemp("certificates")
    openssl = shutil.which("openssl") or "openssl"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "2"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", home / "key.pem", "-out", home / "only.pem"),
        ],
        check=True,
        capture_output=True,
    )
    whole = home / "own.pem"
    whole.write_text((home / "key.pem").read_text() + (home / "only.pem").read_text())
    return whole


@pytest.fixture(scope="module")
def wishes(certificate: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Settings for the listener, and a user that the broker knows."""
    authority = certificate.with_name("only.pem")
    with TlsKafka(tmp_path_factory.mktemp("kafka-tls"), certificate, authority) as server:
        with administrator(cluster_of(Settings(events_url=server.url))) as admin:
            admin.alter_user_scram_credentials(
                [UserScramCredentialUpsertion("lab", "SCRAM-SHA-512", "a long password")]
            )
        yield {
            "events_url": f"kafka+tls://127.0.0.1:{server.tls_port}",
            "kafka_username": "lab",
            "kafka_password": "a long password",
            "kafka_ca_file": authority,
            "kafka_cert_file": certificate,
        }


def test_messages_go_both_ways(wishes: dict[str, Any]) -> None:
    events = KafkaEvents.of(Settings(**wishes))
    subscription = events.subscribe((TaskReady.topic,), f"g-{uuid4().hex}")
    message = TaskReady(site="local", aggregate="a", sequence=1, kind="fold")
    events.publish(message)
    assert [delivery.message for delivery in subscription.poll(30)] == [message]
    subscription.commit()
    subscription.close()
    events.close()


@pytest.mark.parametrize("wrong", ["kafka_password", "kafka_ca_file", "kafka_cert_file"])
def test_without_any_of_the_proofs_it_is_away_in_plain_words(wishes: dict[str, Any], wrong: str) -> None:
    value = "not the word" if wrong == "kafka_password" else None
    events = KafkaEvents.of(Settings(**(wishes | {wrong: value})))
    with pytest.raises(UnavailableError) as refused:
        events.ping()
    assert "broker" in refused.value.message and str(value) not in refused.value.message
    if wrong != "kafka_password":
        assert f"AIMIC_{wrong.upper()}" in refused.value.message
    events.close()


def test_a_server_that_never_answers_is_not_waited_for(wishes: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"kafka+tls://127.0.0.1:{silent.getsockname()[1]}"
        events = KafkaEvents.of(Settings(**(wishes | {"events_url": url})))
        started = time.monotonic()
        with pytest.raises(UnavailableError):
            events.ping()
        assert time.monotonic() - started < 12
        events.close()
