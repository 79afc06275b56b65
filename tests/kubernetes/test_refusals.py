"""Values that can't work are refused in words, by their names."""

import subprocess
from collections.abc import Callable

import pytest

Ask = Callable[..., subprocess.CompletedProcess[str]]

OWN_RECORDS = (
    "postgresql.enabled=false",
    "records.url=postgresql+psycopg://aimic_app@db.example/aimic",
    "networkPolicies.external.records.cidrs={192.0.2.1/32}",
)


@pytest.mark.parametrize(
    ("profile", "changes", "words"),
    [
        ("production", ("secrets.s3.existingSecret=",), "Your S3 needs its keys"),
        ("production", ("secrets.postgresql.existingSecret=",), "Your PostgreSQL needs its passwords"),
        ("production", ("secrets.postgresqlOwner.existingSecret=",), "Your PostgreSQL needs its passwords"),
        ("production", ("records.ownerUrl=",), "three logins"),
        ("small", OWN_RECORDS, "three logins"),
        ("production", ("records.url=",), "There is no server for records"),
        ("production", ("blobs.url=",), "There is no server for blobs"),
        ("production", ("events.url=",), "There is no server for events"),
        ("production", ("kafka.enabled=true",), "There are two servers for events"),
        ("production", ("networkPolicies.external.blobs.cidrs=null",), "Nothing may reach your server for blobs"),
        ("production", ("trainer.minReplicas=9",), "trainer.minReplicas is larger"),
        ("production", ("blobs.url=https://s3.example/aimic",), "url"),
        ("production", ("records.url=postgresql+psycopg://aimic_app:secret@db.example/aimic",), "url"),
        ("production", ("events.url=kafka://me:secret@broker:9092",), "url"),
        ("small", ("ingest.replicas=-1",), "replicas"),
        ("small", ("ingest.replicas=many",), "replicas"),
        ("small", ("ingest.replica=3",), "replica"),
        ("small", ("trainer.scaling=sometimes",), "scaling"),
        ("small", ("trainer.graceSeconds=5",), "graceSeconds"),
        ("small", ("trainer.gpu.count=0",), "count"),
        ("small", ("inference.resources.limits.memory=null",), "memory"),
        ("small", ("minio.storage.size=lots",), "size"),
        ("small", ("image.pullPolicy=Sometimes",), "pullPolicy"),
        ("small", ("security.runAsUser=0",), "runAsUser"),
        ("small", ("networkPolicies.external.records.ports={70000}",), "ports"),
        ("small", ("networkPolicies.dns.cidrs={everywhere}",), "cidrs"),
        ("small", ("secrets.keys.existingSecret=Not A Name",), "existingSecret"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_by_its_name(said: Ask, profile: str, changes: tuple[str, ...], words: str) -> None:
    done = said(profile, *changes)

    assert done.returncode != 0
    assert words in done.stderr
