"""The rights that docs/servers.md tells hospital IT to give are enough, and are read from that page."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ACLResourcePatternType, ResourcePattern, ResourceType
from minio import MinioAdmin
from minio.credentials.providers import StaticProvider

from aimic.adapters.kafka_clients import administrator
from aimic.adapters.kafka_config import cluster_of
from aimic.adapters.kafka_events import KafkaEvents
from aimic.adapters.s3_blobs import S3Blobs
from aimic.errors import UnavailableError
from aimic.events import ModelsChanged, TaskReady
from aimic.settings import Settings
from services.local.servers.kafka import Kafka
from services.local.servers.minio import Minio
from services.local.servers.together import fields
from services.trainer.listener import GROUP
from tests.servers.behind import until

pytestmark = pytest.mark.servers
PAGE = (Path(__file__).parents[2] / "docs" / "servers.md").read_text()
RIGHT = re.compile(r"^\| (topics|group|groups) (with the prefix )?`([\w.-]+)` \| (.+) \|$", re.MULTILINE)


class GuardedKafka(Kafka):
    """The broker with access control and a user who may nothing yet."""

    def prepare(self) -> None:
        """With these lines in its configuration."""
        super().prepare()
        path = self.home / "server.properties"
        text = path.read_text().replace('";\n', '" user_lab="word";\n', 1)
        path.write_text(
            text + "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n"
            "super.users=User:ANONYMOUS;User:aimic\n"
        )


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[Kafka, Settings]]:
    with GuardedKafka(tmp_path) as server:
        sasl = fields(server.sasl_environment()) | {"kafka_username": "lab", "kafka_password": "word"}
        del sasl["kafka_password_file"]
        yield server, Settings(**sasl)


def _told() -> Iterator[ACL]:
    for kind, prefix, name, operations in RIGHT.findall(PAGE):
        resource = ResourceType.TOPIC if kind == "topics" else ResourceType.GROUP
        pattern = ACLResourcePatternType.PREFIXED if prefix else ACLResourcePatternType.LITERAL
        for word in re.findall(r"Describe|Read|Write|Create", operations):
            operation = ACLOperation[word.upper()]
            yield ACL("User:lab", "*", operation, ACLPermissionType.ALLOW, ResourcePattern(resource, name, pattern))


def _reached(events: KafkaEvents) -> bool:
    try:
        events.ping()
    except UnavailableError:
        return False
    return True


def test_the_rights_in_kafka_are_enough(guarded: tuple[Kafka, Settings]) -> None:
    server, settings = guarded
    events = KafkaEvents.of(settings)
    with pytest.raises(UnavailableError):
        events.publish(TaskReady(site="local", aggregate="a", sequence=1, kind="fold"))
    with administrator(cluster_of(Settings(events_url=server.url))) as admin:
        admin.create_acls(list(_told()))
    until(lambda: _reached(events), 30, "the broker knows of the rights")
    for group, message in (
        (GROUP, TaskReady(site="local", aggregate="a", sequence=2, kind="fold")),
        ("inference-a", ModelsChanged(site="local", aggregate="m", sequence=1)),
    ):
        subscription = events.subscribe((message.topic,), group)
        events.publish(message)
        assert message in [delivery.message for delivery in subscription.poll(30)]
        subscription.commit()
        subscription.close()
    events.close()


@pytest.fixture
def limited(minio_server: Minio) -> Settings:
    """A key with just the policy of the page, for a bucket that isn't there yet."""
    settings: dict[str, Any] = fields(minio_server.environment(bucket=None))
    bucket = settings["blobs_url"].rpartition("/")[2]
    root = StaticProvider(minio_server.secret("access-key"), minio_server.secret("secret-key"))
    admin = MinioAdmin(endpoint=f"127.0.0.1:{minio_server.port}", credentials=root, secure=False)
    (policy,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    admin.policy_add(bucket, policy=json.loads(policy.replace("BUCKET", bucket)))
    admin.user_add(bucket, "a-long-word")
    admin.policy_set(bucket, user=bucket)
    return Settings(blobs_url=settings["blobs_url"], s3_access_key=bucket, s3_secret_key="a-long-word")


def test_the_rights_in_s3_are_enough(limited: Settings) -> None:
    blobs = S3Blobs.of(limited)
    blobs.ping()
    large = b"x" * (20 * 2**20)  # in parts
    for key, data in (("local/a", b"small"), ("local/b", large)):
        blobs.put(key, data)
        assert blobs.get(key) == data
    assert b"".join(blobs.read("local/b", 5, 7)) == b"x" * 7
    blobs.delete("local/a")
    assert not blobs.exists("local/a")
