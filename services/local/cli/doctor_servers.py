"""`aimic doctor` on the servers behind the platform: there, of which version, with what we need in them."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from sqlalchemy import text

from aimic import wiring
from aimic.errors import AimicError
from aimic.events import DEAD, TOPICS
from services.ingest.database import Database
from services.ingest.failures import plain_errors
from services.ingest.migrate import schema
from services.ingest.settings import Settings
from services.local.cli.check import Check
from services.local.parts import servers_of
from services.local.settings import LocalSettings, Profile


def server_checks(settings: LocalSettings, holder: dict[str, Any] | None) -> Iterator[Check]:
    """The servers of the running platform, or those that the environment names; nothing where all is files."""
    told = _told(settings, holder)
    if told is None:
        return
    for scheme, url, name, look in (
        ("postgresql", told.records_url, "records", _records),
        ("kafka", told.events_url, "events", _events),
        ("s3", told.blobs_url, "objects", _objects),
    ):
        if url.startswith(scheme):
            yield _looked(name, partial(look, told))


def _told(settings: LocalSettings, holder: dict[str, Any] | None) -> Settings | None:
    """What ingest is told; None while the servers belong to a platform that isn't running."""
    if holder is None or holder.get("profile") != Profile.SERVERS:
        return None if settings.servers_home.exists() else Settings()
    running = LocalSettings.model_validate({"home": settings.home, "profile": Profile.SERVERS, **holder["ports"]})
    servers = servers_of(running)
    assert servers is not None
    return Settings(home=settings.home, **servers.fields())


class _Note(str):
    """Words of a server that can be used, where a person should look at something all the same."""


def _looked(name: str, look: Callable[[], str]) -> Check:
    try:
        words = look()
        return Check(name=name, state="note" if isinstance(words, _Note) else "ok", words=words)
    except AimicError as error:
        return Check(name=name, state="problem", words=error.message)
    except SystemExit as error:  # how settings say in words that they can't be meant
        return Check(name=name, state="problem", words=str(error))


def _records(settings: Settings) -> str:
    database = Database.of(settings)
    try:
        found, wanted = schema(database)
        with plain_errors(), database.engine.connect() as connection:
            version = connection.scalar(text("SHOW server_version"))
    finally:
        database.close()
    if found != wanted:
        raise SystemExit(
            f"PostgreSQL {version} answers, and its schema is {found or 'not made yet'} where this version of AIMIC "
            f"has {wanted}. If that is older, run: python -m services.ingest.migrate"
        )
    return f"PostgreSQL {version}, schema {found}"


def _events(settings: Settings) -> str:
    from aimic.adapters.kafka_clients import administrator, plain_errors
    from aimic.adapters.kafka_config import cluster_of

    with plain_errors(), administrator(cluster_of(settings)) as admin:
        brokers = len(admin.describe_cluster()["brokers"])
        missing = sorted({topic.name for topic in TOPICS} - set(admin.list_topics()))
        letters = 0 if missing else _dead_letters(admin)
    if missing:
        raise SystemExit(
            f"Kafka answers, and the topics {', '.join(missing)} are missing. Ingest makes them when it starts and "
            "may; else have whoever runs Kafka make them."
        )
    words = f"Kafka, {brokers} broker{'s' if brokers > 1 else ''}, all {len(TOPICS)} topics"
    if not letters:
        return words
    return _Note(
        f"{words}; the topic {DEAD} keeps {letters} record{'s' if letters > 1 else ''} that could not be read, each "
        "with the reason in its headers. Look who writes there that isn't AIMIC, or is of another version."
    )


def _dead_letters(admin: Any) -> int:
    """Records in the dead-letter topic that its retention has not ended yet."""
    from kafka import TopicPartition
    from kafka.admin import OffsetSpec

    (topic,) = admin.describe_topics([DEAD])
    parts = [TopicPartition(DEAD, part["partition_index"]) for part in topic["partitions"]]
    first = admin.list_partition_offsets(dict.fromkeys(parts, OffsetSpec.EARLIEST))
    behind = admin.list_partition_offsets(dict.fromkeys(parts, OffsetSpec.LATEST))
    return sum(behind[part].offset - first[part].offset for part in parts)


def _objects(settings: Settings) -> str:
    wiring.blobs(settings).ping()
    return f"{settings.blobs_url.removeprefix('s3+')} takes our key, and the bucket is there"
