"""docs/servers.md, by which hospital IT sets up its servers, says what the code does."""

import re
from pathlib import Path

from aimic.adapters.kafka_metrics import DEAD_LETTERS, LAG
from aimic.events import TOPICS
from services.inference.settings import Settings as InferenceSettings
from services.ingest.settings import Settings as IngestSettings
from services.local.servers.postgres import ROLES
from services.trainer.settings import Settings as TrainerSettings

PAGE = (Path(__file__).parents[4] / "docs" / "servers.md").read_text()
FIELDS = (
    IngestSettings.model_fields.keys() | TrainerSettings.model_fields.keys() | InferenceSettings.model_fields.keys()
)


def test_every_setting_of_a_server_is_told_and_no_other() -> None:
    told = {name.lower() for name in re.findall(r"AIMIC_([A-Z0-9_]*[A-Z0-9])", PAGE)}
    assert told - FIELDS == set()
    of_servers = {name for name in FIELDS if name.startswith(("s3_", "kafka_", "records_"))}
    assert of_servers | {"blobs_url", "events_url"} <= told


def test_the_sql_is_the_one_that_we_run_ourselves() -> None:
    assert ROLES.read_text() in PAGE


def test_the_topics_are_those_that_are_declared() -> None:
    told = re.findall(r"^\| `(aimic\.\w+)` \| (\d+) \| (\d+) h \|", PAGE, re.MULTILINE)
    assert told == [(topic.name, str(topic.partitions), str(topic.retention_h)) for topic in TOPICS]


def test_the_metrics_of_events_are_named_with_their_labels() -> None:
    for metric, name in ((LAG, LAG._name), (DEAD_LETTERS, f"{DEAD_LETTERS._name}_total")):
        assert f"`{name}{{{','.join(metric._labelnames)}}}`" in PAGE


def test_no_command_has_a_password_among_its_arguments() -> None:
    assert not re.search(r"psql.*password", PAGE)
