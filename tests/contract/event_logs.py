"""Two event logs as their contract's tests see them: what can happen to a log, and members that listen."""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from aimic.adapters import kafka_subscription, sqlite_events
from aimic.adapters.kafka_clients import administrator, plain_errors
from aimic.adapters.kafka_config import cluster_of
from aimic.adapters.kafka_events import KafkaEvents
from aimic.adapters.kafka_topics import start_at_end
from aimic.adapters.sqlite_events import SqliteEvents
from aimic.errors import UnavailableError
from aimic.events import TaskReady
from aimic.ports.events import Events, Subscription
from aimic.settings import Settings
from services.local.servers.kafka import Kafka

TOPICS = (TaskReady.topic,)
WAIT_S = 60.0
"""For what has to come, on a machine that is busy."""
QUIET_S = 0.4
"""For what must not come."""


class Log(Protocol):
    """One log, and what can happen to it."""

    def connect(self) -> Events:
        """Another process's view of the log."""

    def settle(self, group: str) -> None:
        """UnavailableError while nobody has this group in hand yet."""

    def append(self, topic: str, body: bytes) -> None:
        """A record that no program of ours wrote."""

    def empty(self) -> None:
        """Every topic is lost."""

    def restart(self) -> None:
        """The log is away for a moment."""

    def hurry(self) -> None:
        """Members to come are given up when they say nothing for a moment. Otherwise one that stands still on a busy
        machine stays, and hears nothing twice."""

    def kill(self, member: Subscription) -> None:
        """End a member without a word."""


class SqliteLog:
    """A file."""

    def __init__(self, path: Path, stack: contextlib.ExitStack, patch: pytest.MonkeyPatch) -> None:
        self._path, self._stack = path, stack
        self._patch = patch
        patch.setattr(sqlite_events, "HEARTBEAT_S", 0.1)

    def connect(self) -> Events:
        events = SqliteEvents(self._path)
        self._stack.callback(events.close)
        return events

    def settle(self, group: str) -> None:
        """A file needs nobody."""

    def append(self, topic: str, body: bytes) -> None:
        row = (topic, 0, "strange", body.decode(), time.time())
        with contextlib.closing(sqlite3.connect(self._path)) as file, file:
            file.execute("INSERT INTO log (topic, part, key, body, at) VALUES (?, ?, ?, ?, ?)", row)

    def empty(self) -> None:
        with contextlib.closing(sqlite3.connect(self._path)) as file, file:
            file.execute("DELETE FROM log")

    def restart(self) -> None:
        """A file is never away."""

    def hurry(self) -> None:
        self._patch.setattr(sqlite_events, "MEMBER_S", 1.0)

    def kill(self, member: Subscription) -> None:
        assert isinstance(member, sqlite_events.SqliteSubscription)
        member._connection.close()


class KafkaLog:
    """The session's broker."""

    def __init__(self, server: Kafka, stack: contextlib.ExitStack, patch: pytest.MonkeyPatch) -> None:
        self._server, self._stack = server, stack
        self._cluster = cluster_of(Settings(events_url=server.url))
        self._patch = patch
        patch.setattr(kafka_subscription, "HEARTBEAT_S", 0.3)

    def connect(self) -> Events:
        events = KafkaEvents(self._cluster)
        self._stack.callback(events.close)
        return events

    def settle(self, group: str) -> None:
        """A broker that has just started takes its time on a busy machine: more than a program waits."""
        with plain_errors(), administrator(self._cluster) as admin:
            start_at_end(admin, group, ())

    def append(self, topic: str, body: bytes) -> None:
        events = self.connect()
        assert isinstance(events, KafkaEvents)
        events._append(topic, b"strange", body, [])

    def empty(self) -> None:
        with administrator(self._cluster) as admin:
            admin.delete_topics(list(TOPICS))

    def restart(self) -> None:
        self._server.restart()

    def hurry(self) -> None:
        self._patch.setattr(kafka_subscription, "SESSION_S", 2.0)

    def kill(self, member: Subscription) -> None:
        assert isinstance(member, kafka_subscription.KafkaSubscription) and member._network is not None
        member._network.close()


def ready(task: str, sequence: int = 1) -> TaskReady:
    return TaskReady(site="local", aggregate=task, sequence=sequence, kind="fold")


def drain(subscription: Subscription, count: int) -> list[tuple[str, int]]:
    """`count` messages, and those that come soon after."""
    found: list[tuple[str, int]] = []
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        deliveries = subscription.poll(QUIET_S)
        subscription.commit()
        found += [(delivery.key, delivery.message.sequence) for delivery in deliveries]
        if not deliveries and len(found) >= count:
            break
    return found


def until(done: Callable[[], bool]) -> None:
    """Wait for what other threads bring about."""
    end = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


class Member:
    """A member on a thread of its own, as in a process of its own."""

    def __init__(self, log: Log, group: str) -> None:
        self.subscription = log.connect().subscribe(TOPICS, group)
        self.heard: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(UnavailableError):
                self.heard += [delivery.key for delivery in self.subscription.poll(0.1)]
                self.subscription.commit()

    def pause(self) -> None:
        self._stop.set()
        self._thread.join()

    def leave(self) -> None:
        self.pause()
        self.subscription.close()


def publish_until(events: Events, enough: Callable[[], bool], name: str) -> None:
    end = time.monotonic() + WAIT_S
    number = 0
    while not enough():
        assert time.monotonic() < end
        with contextlib.suppress(UnavailableError):
            events.publish(ready(f"{name}{number}"))
        number += 1
        time.sleep(0.02)
