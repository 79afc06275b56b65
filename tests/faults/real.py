"""The real servers as ground: each behind a proxy that can be cut and slowed, two of them on small disks."""

import contextlib
import os
import subprocess
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, UnknownTopicOrPartitionError
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from aimic.events import DEAD, MESSAGES
from services.local.servers import install
from services.local.servers.together import Servers
from services.local.servers.toxiproxy import Proxy, Toxiproxy
from tests.faults.ground import Letters
from tests.faults.listening import GROUP
from tests.patience import PATIENCE_S, patiently

DISK_MIB = {"postgres": 2048, "minio": 8192}
"""Sparse: what is never written takes no room on the machine's own disk."""
SLOW_MS = 300
_BALLAST = "ballast"
_BLOCK = 1024
_LOG_MIB = 80
"""What PostgreSQL keeps ready of its log, by its min_wal_size."""


class Disk:
    """A small disk of its own, an image file mounted by root, that can be filled and emptied."""

    def __init__(self, image: Path, mount: Path, mib: int) -> None:
        self._image, self._mount, self._mib = image, mount, mib

    def mount(self) -> None:
        """Make and mount it; it goes with `unmount`."""
        self._mount.mkdir(parents=True, exist_ok=True)
        with self._image.open("wb") as file:
            file.truncate(self._mib << 20)
        for command in (
            ("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=1,nodiscard", str(self._image)),
            ("mount", "-o", "loop", str(self._image), str(self._mount)),
        ):
            subprocess.run(command, check=True, capture_output=True)

    def unmount(self) -> None:
        """Let go of it."""
        subprocess.run(("umount", "-l", str(self._mount)), check=False, capture_output=True)
        self._image.unlink(missing_ok=True)

    def fill(self) -> None:
        """Leave no room: blocks are taken without being written, in ever smaller pieces."""
        with (self._mount / _BALLAST).open("ab") as file:
            size, taken = self._mib << 20, file.tell()
            while size >= _BLOCK:
                try:
                    os.posix_fallocate(file.fileno(), taken, size)
                    taken += size
                except OSError:
                    size //= 2

    def empty(self) -> None:
        """Give the room back."""
        (self._mount / _BALLAST).unlink(missing_ok=True)


class Real:
    """PostgreSQL, Kafka and MinIO, started for this stack alone."""

    def __init__(self, home: Path) -> None:
        self._home = home
        home.mkdir(parents=True, exist_ok=True)
        self.servers = Servers.on(home, durable=False)
        self._toxiproxy = Toxiproxy(install.toxiproxy())
        self._proxies: dict[str, Proxy] = {}
        self._planted: set[str] = set()
        self._unsure: set[str] = set()
        """Planted before their topic was deleted: perhaps nobody came to read them."""
        self._turn = threading.Lock()
        """Faults of one history have a thread each, and any that heals heals everything: one at a time, since two would
        take the same hindrance away twice, or start a server on a disk that is being filled."""
        self._disks = {name: Disk(home / f"{name}.img", home / name, mib) for name, mib in DISK_MIB.items()}

    def start(self) -> None:
        """Disks, servers, proxies."""
        for disk in self._disks.values():
            disk.mount()
        self.servers.start()
        self._toxiproxy.start()
        servers, proxy = self.servers, self._toxiproxy.proxy
        self._proxies = {
            "postgres": proxy(f"127.0.0.1:{servers.postgres.port}"),
            "kafka": proxy(f"127.0.0.1:{servers.kafka.behind_proxy_port}", servers.kafka.proxied_port),
            "minio": proxy(f"127.0.0.1:{servers.minio.port}"),
        }

    def stop(self) -> None:
        """End them and give the disks back."""
        self._toxiproxy.stop()
        self.servers.stop()
        for disk in self._disks.values():
            disk.unmount()

    def environment(self) -> dict[str, str]:
        """Through the proxies."""
        servers = self.servers
        return {
            **servers.postgres.database.environment(self._proxies["postgres"].port),
            **servers.minio.environment(port=self._proxies["minio"].port),
            "AIMIC_EVENTS_URL": servers.kafka.proxied_url,
        }

    def direct(self) -> dict[str, str]:
        """Past them."""
        return self.servers.environment()

    def engine(self) -> Engine:
        """As the superuser, whom row-level security doesn't bind."""
        postgres = self.servers.postgres
        url = make_url(f"postgresql+psycopg://postgres@127.0.0.1:{postgres.port}/{postgres.database.name}")
        return create_engine(url.set(password=postgres.secret("postgres")), pool_pre_ping=True)

    def break_(self, kind: str, server: str) -> None:
        """Until `heal`."""
        with self._turn:
            self._break(kind, server)

    def _break(self, kind: str, server: str) -> None:
        if kind == "cut":
            self._proxies[server].cut()
        elif kind == "slow":
            self._proxies[server].slow(SLOW_MS)
        else:
            self._disks[server].fill()
            if server == "postgres":
                self._use_up_log()

    def _use_up_log(self) -> None:
        """Write more than the write-ahead log has room for: the database falls, and can't rise before there is room."""
        engine = self.engine()
        with contextlib.suppress(OperationalError), engine.connect() as connection:
            for _ in range(2 * _LOG_MIB):
                connection.execute(text("SELECT pg_logical_emit_message(false, 'aimic', repeat('x', 1048576))"))
        engine.dispose()

    def empty_topics(self) -> None:
        """Delete every topic, as somebody may who thinks that a broker is a cache."""
        admin = KafkaAdminClient(bootstrap_servers=self._broker())
        with contextlib.closing(admin), contextlib.suppress(UnknownTopicOrPartitionError):  # deleted a moment ago
            admin.delete_topics(list(MESSAGES))
        self._unsure |= self._planted

    def poison(self, topic: str) -> None:
        """A record that is no message of ours."""
        value = f"planted in {topic}: {uuid.uuid4().hex}"
        self._planted.add(value)  # before it is sent: whoever deletes the topic meanwhile is to count it as lost
        producer = KafkaProducer(bootstrap_servers=self._broker(), acks="all")
        with contextlib.closing(producer):
            producer.send(topic, value.encode()).get(timeout=PATIENCE_S)

    def heal(self) -> None:
        """Connections, room on the disks, and servers that didn't survive the want of it."""
        with self._turn:
            for disk in self._disks.values():
                disk.empty()
            for proxy in self._proxies.values():
                proxy.heal()
            for server in self.servers.all:
                server.start()

    def letters(self) -> Letters:
        """Everything in the dead-letter topic, beside what was planted."""
        try:
            found = patiently(self._dead, KafkaError)
        except KafkaError as error:
            return Letters((f"the dead-letter topic can't be read: {error!r}",), ())
        # The suite's own reader puts aside what it can't read, like any other; that proves nothing of the services.
        put_aside = {value for group, value in found if group != GROUP}
        strange = {value for _, value in found} - self._planted
        return Letters(tuple(sorted(strange)), tuple(sorted(self._planted - self._unsure - put_aside)))

    def _dead(self) -> list[tuple[str, str]]:
        """(group, value) of every letter."""
        consumer = KafkaConsumer(bootstrap_servers=self._broker(), enable_auto_commit=False)
        with contextlib.closing(consumer):
            part = TopicPartition(DEAD, 0)
            if part.partition not in (consumer.partitions_for_topic(DEAD) or ()):
                return []
            consumer.assign([part])
            consumer.seek_to_beginning(part)
            end, until = consumer.end_offsets([part])[part], time.monotonic() + 10
            found: list[tuple[str, str]] = []
            while consumer.position(part) < end and time.monotonic() < until:
                for records in consumer.poll(timeout_ms=500).values():
                    found += [_letter(record) for record in records]
            return found

    def _broker(self) -> str:
        return self.servers.kafka.url.removeprefix("kafka://")


def _letter(record: Any) -> tuple[str, str]:
    headers = dict(record.headers)
    return headers.get("group", b"").decode(), record.value.decode(errors="replace")[:500]
