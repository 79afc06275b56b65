"""Apache Kafka on this machine: one node that is broker and controller (KRaft), without ZooKeeper."""

import base64
import os
import socket
import struct
import subprocess
import uuid
from pathlib import Path

from aimic.errors import UnavailableError
from services.local.part import PartSpec
from services.local.servers import install
from services.local.servers.ports import free_ports
from services.local.servers.server import Server

USERNAME = "aimic"
_PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners={listeners},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={advertised}
controller.listener.names=CONTROLLER
inter.broker.listener.name=SASL
listener.security.protocol.map=OPEN:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
  username="{user}" password="{password}" user_{user}="{password}";
log.dirs={data}
num.partitions=1
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=false
delete.topic.enable=true
log.segment.delete.delay.ms=1000
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
"""
_LOGGING = """rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %c{1}: %m%n
"""
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)
"""The smallest question of the protocol: size, api 18, version 0, correlation 1, no client's name."""


class Kafka(Server):
    """A broker. Topics are made by whoever uses them: it makes none by itself.

    Listeners: SASL/PLAIN on `port`; without credentials on `open_port` (tests only) and on `behind_proxy_port`, whose
    clients are told to come back to `proxied_port`.
    """

    name = "kafka"

    def __init__(
        self,
        home: Path,
        port: int | None = None,
        controller_port: int | None = None,
        secured: bool = False,
    ) -> None:
        super().__init__(home, port)
        self.secured = secured
        controller, self.open_port, self.behind_proxy_port, self.proxied_port = free_ports(4)
        self.controller_port = controller_port or controller

    @property
    def data(self) -> Path:
        """The directory of the logs."""
        return self.home / "data"

    @property
    def url(self) -> str:
        """`kafka://…` of the listener that asks for nothing (of the one that asks for a password, when secured)."""
        return f"kafka://127.0.0.1:{self.port if self.secured else self.open_port}"

    @property
    def proxied_url(self) -> str:
        """`kafka://…` through a proxy that listens on `proxied_port` and passes on to `behind_proxy_port`."""
        return f"kafka://127.0.0.1:{self.proxied_port}"

    def environment(self) -> dict[str, str]:
        """`AIMIC_EVENTS_URL`, and what a password needs when secured."""
        return self.sasl_environment() if self.secured else {"AIMIC_EVENTS_URL": self.url}

    def sasl_environment(self) -> dict[str, str]:
        """Settings for the listener that asks for a password."""
        return {
            "AIMIC_EVENTS_URL": f"kafka://127.0.0.1:{self.port}",
            "AIMIC_KAFKA_USERNAME": USERNAME,
            "AIMIC_KAFKA_PASSWORD_FILE": str(self.secret_file("kafka")),
            "AIMIC_KAFKA_MECHANISM": "PLAIN",
        }

    def prepare(self) -> None:
        """Write the configuration, and format the data directory when it is new."""
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "log4j2.properties").write_text(_LOGGING)
        self._write_properties()
        if not (self.data / "meta.properties").exists():
            self._format()

    def _write_properties(self) -> None:
        bound = {"SASL": self.port}
        told = dict(bound)
        if not self.secured:
            bound |= {"OPEN": self.open_port, "PROXIED": self.behind_proxy_port}
            told |= {"OPEN": self.open_port, "PROXIED": self.proxied_port}
        text = _PROPERTIES.format(
            controller=self.controller_port,
            listeners=_listeners(bound),
            advertised=_listeners(told),
            user=USERNAME,
            password=self.secret("kafka"),
            data=self.data,
        )
        path = self.home / "server.properties"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)

    def _format(self) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode().replace("-", "A", 1)
        arguments = ("format", "--ignore-formatted", "-t", cluster, "-c", str(self.home / "server.properties"))
        command = (*self._java("128m"), "kafka.tools.StorageTool", *arguments)
        done = subprocess.run(command, cwd=self.home, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UnavailableError(f"Kafka's data directory could not be made:\n{done.stdout}{done.stderr}")

    def _java(self, memory: str) -> tuple[str, ...]:
        return (
            str(install.java()), f"-Xmx{memory}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
            "-XX:+ExitOnOutOfMemoryError", f"-Dlog4j2.configurationFile={self.home / 'log4j2.properties'}",
            "-cp", f"{install.kafka()}/*",
        )  # fmt: skip

    def spec(self) -> PartSpec:
        """The broker's process."""
        command = (*self._java("512m"), "kafka.Kafka", str(self.home / "server.properties"))
        return PartSpec(name=self.name, command=command, directory=self.home)

    def not_ready(self) -> str | None:
        """Whether it answers to its protocol; it does so only after it has joined its cluster."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                connection.sendall(_API_VERSIONS)
                return None if connection.recv(4) else "it hung up"
        except OSError as error:
            return str(error)


def _listeners(ports: dict[str, int]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())
